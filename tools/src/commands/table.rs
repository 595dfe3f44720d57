//! `mapleaf table`: tables are made, dropped and renamed, each in a txn of its own.

use crate::cli::{JsonArg, SchemaArgs, TurnArg};
use crate::failure::Result;
use crate::output::{Output, counted, print, print_document};
use crate::store::{choose, open_to_write, remove_new};
use mapleaf::{Database, WriteTxn};
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::PathBuf;

/// The arguments of table.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A type that is not named is bytes. Prints what was done: the types of a new table, and how many entries went with one that was dropped. Other tables stay as they are. What is dropped stays in snapshots that were made before, and nothing else brings it back.\n\nExamples:\n  mapleaf table create app.maple users --key-type u64 --value-type '(str,option(u8))'\n  mapleaf table create app.maple tags --key-type str --value-type u64 --multi\n  mapleaf table rename app.maple users people\n  mapleaf table drop app.maple people"
)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Make a table
    #[command(
        after_help = "Examples:\n  mapleaf table create app.maple users --key-type u64 --value-type '(str,option(u8))'\n  mapleaf table create --create new.maple tags --key-type str --value-type u64 --multi"
    )]
    Create {
        /// The store
        file: PathBuf,
        /// Its name
        table: String,
        #[command(flatten)]
        schema: SchemaArgs,
        /// Make the store if it is not there
        #[arg(long)]
        create: bool,
        #[command(flatten)]
        turn: TurnArg,
        #[command(flatten)]
        json: JsonArg,
    },
    /// Drop a table with all that is in it
    #[command(after_help = "Examples:\n  mapleaf table drop app.maple people")]
    Drop {
        /// The store
        file: PathBuf,
        /// Its name
        table: String,
        #[command(flatten)]
        turn: TurnArg,
        #[command(flatten)]
        json: JsonArg,
    },
    /// Give a table another name
    #[command(after_help = "Examples:\n  mapleaf table rename app.maple users people")]
    Rename {
        /// The store
        file: PathBuf,
        /// Its name
        table: String,
        /// The new one
        to: String,
        #[command(flatten)]
        turn: TurnArg,
        #[command(flatten)]
        json: JsonArg,
    },
}

/// What was done, as a line and as JSON.
pub struct Done {
    line: String,
    document: Value,
}

/// Runs it.
pub fn run(args: &Args) -> Result {
    let creates = matches!(args.action, Action::Create { create: true, .. });
    let existed = fs::symlink_metadata(args.file()).is_ok();
    let db = open_to_write(args.file(), creates, None)?;
    let done = commit(&db, args);
    if done.is_err() && !existed {
        remove_new(&db, args.file());
    }
    let done = done?;
    db.close()?;
    print(|output| args.print(&done, output))
}

fn commit(db: &Database, args: &Args) -> Result<Done> {
    let mut txn = args.turn().begin(db)?;
    let done = args.change(&mut txn)?;
    txn.commit()?;
    Ok(done)
}

impl Args {
    /// The store it works on.
    pub fn file(&self) -> &PathBuf {
        match &self.action {
            Action::Create { file, .. } | Action::Drop { file, .. } | Action::Rename { file, .. } => file,
        }
    }

    /// How long it waits for its turn.
    pub fn turn(&self) -> TurnArg {
        match &self.action {
            Action::Create { turn, .. } | Action::Drop { turn, .. } | Action::Rename { turn, .. } => *turn,
        }
    }

    /// Does it.
    pub fn change(&self, txn: &mut WriteTxn) -> Result<Done> {
        let id = txn.txn_id();
        match &self.action {
            Action::Create { table, schema, .. } => {
                let schema = schema.schema()?;
                txn.create_table(table, &schema)?;
                let document = json!({ "table": table, "created": true, "txn": id });
                Ok(Done { line: format!("created: {schema}"), document })
            }
            Action::Drop { table, .. } => {
                let entries = choose(&txn.tables()?, Some(table))?.len;
                txn.drop_table(table)?;
                let document = json!({ "table": table, "dropped": true, "entries": entries, "txn": id });
                Ok(Done { line: format!("dropped {}", counted(entries, "entry", "entries")), document })
            }
            Action::Rename { table, to, .. } => {
                choose(&txn.tables()?, Some(table))?;
                txn.rename_table(table, to)?;
                let document = json!({ "table": table, "renamed": to, "txn": id });
                Ok(Done { line: "renamed".into(), document })
            }
        }
    }

    /// Tells it.
    pub fn print(&self, Done { line, document }: &Done, output: &mut Output) -> Result<()> {
        let (Action::Create { json, .. } | Action::Drop { json, .. } | Action::Rename { json, .. }) =
            &self.action;
        match json.json {
            true => print_document(document, output),
            false => Ok(writeln!(output, "{line}")?),
        }
    }
}
