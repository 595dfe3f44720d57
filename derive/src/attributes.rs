//! `#[mapleaf(…)]`: what a user says of a type, a variant or a field.

use syn::meta::ParseNestedMeta;
use syn::{Attribute, Error, LitInt, LitStr, Path, Result, parse_quote};

/// What stands on one of them. Each kind accepts what makes sense for it.
#[derive(Default)]
pub struct Attributes {
    pub name: Option<String>,
    pub tag: Option<(u8, proc_macro2::Span)>,
    pub path: Option<Path>,
}

impl Attributes {
    /// # Errors
    /// For what is not among `known`, and for what cannot be read.
    pub fn of(attributes: &[Attribute], known: &[&str]) -> Result<Self> {
        let mut found = Attributes::default();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("mapleaf")) {
            attribute.parse_nested_meta(|meta| found.read(&meta, known))?;
        }
        Ok(found)
    }

    fn read(&mut self, meta: &ParseNestedMeta, known: &[&str]) -> Result<()> {
        match known.iter().find(|name| meta.path.is_ident(name)) {
            Some(&"name") => self.name = Some(stored_name(&meta.value()?.parse()?)?),
            Some(&"tag") => {
                let number: LitInt = meta.value()?.parse()?;
                self.tag = Some((tag_of(&number)?, number.span()));
            }
            Some(&"crate") => self.path = Some(meta.value()?.parse::<LitStr>()?.parse()?),
            _ => return Err(meta.error(format!("expected {} here", in_words(known)))),
        }
        Ok(())
    }

    /// Where the crate is.
    pub fn crate_path(&self) -> Path {
        self.path.clone().unwrap_or_else(|| parse_quote!(::mapleaf))
    }
}

fn in_words(known: &[&str]) -> String {
    let forms: Vec<String> = known
        .iter()
        .map(|name| match *name {
            "tag" => "`tag = 7`".into(),
            other => format!("`{other} = \"…\"`"),
        })
        .collect();
    forms.join(" or ")
}

fn stored_name(text: &LitStr) -> Result<String> {
    let name = text.value();
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    match !name.is_empty() && name.chars().all(is_plain) {
        true => Ok(name),
        false => Err(Error::new(text.span(), "a stored name has letters, digits, `_`, `-` and `.` only")),
    }
}

pub fn tag_of(number: &LitInt) -> Result<u8> {
    number.base10_parse().map_err(|_| Error::new(number.span(), "a tag is one byte: 0 to 255"))
}
