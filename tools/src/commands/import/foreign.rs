//! What the stores of others have in common: which tables are wanted, and making tables for them.

use super::Target;
use crate::failure::{Failure, Result};
use crate::intake::Intake;
use crate::store::shown;
use mapleaf::Schema;
use std::path::PathBuf;

/// The store of another library.
#[derive(Debug, clap::Args)]
pub struct Foreign {
    /// The store to import; it is only read
    #[arg(value_name = "SOURCE")]
    pub source: PathBuf,
    #[command(flatten)]
    pub target: Target,
    /// Only this table; can be given several times
    #[arg(short = 's', long = "table", value_name = "TABLE")]
    tables: Vec<String>,
}

impl Foreign {
    /// Whether a table is asked for.
    pub fn wants(&self, table: &str) -> bool {
        self.tables.is_empty() || self.tables.iter().any(|asked| asked == table)
    }

    /// Fails where a table is asked for that is not there.
    pub fn expect<'t>(&self, known: impl Iterator<Item = &'t str> + Clone) -> Result<()> {
        let missing = self.tables.iter().find(|asked| !known.clone().any(|name| name == asked.as_str()));
        let Some(missing) = missing else { return Ok(()) };
        let known: Vec<String> = known.map(shown).collect();
        Err(self.wrong(match known.is_empty() {
            true => format!("no table {}; it has none", shown(missing)),
            false => format!("no table {}; it has {}", shown(missing), known.join(", ")),
        }))
    }

    /// Something is wrong with the source.
    pub fn wrong(&self, what: impl Into<String>) -> Failure {
        Failure::elsewhere(self.source.display().to_string(), what)
    }

    /// Makes sure that there is a table of this name and these types.
    pub fn table(&self, intake: &mut Intake<'_>, name: &str, schema: &Schema) -> Result<()> {
        match intake.table(name, schema)? {
            Some(stored) if stored.schema != *schema => Err(Failure::problem(format!(
                "table {} is stored as {}, in {} it is {schema}; import into another store, or drop or rename the table",
                shown(name),
                stored.schema,
                self.source.display(),
            ))),
            _ => Ok(()),
        }
    }
}
