//! An entry whose key and value are both empty takes no room in its page, and stays right when its neighbours go.

mod common;

use common::TestDb;
use mapleaf::Table;

const SET: Table<str, ()> = Table::new("set");

#[test]
fn an_empty_entry_stays_right_when_the_entry_before_it_is_removed() {
    let mut db = TestDb::new();
    db.write(|w| {
        w.put(SET, "ann", &())?;
        w.put(SET, "", &())?;
        w.delete(SET, "ann")
    })
    .unwrap();
    db.reopen();
    db.write(|w| {
        w.put(SET, "bob", &())?;
        w.delete(SET, "")?;
        Ok(())
    })
    .unwrap();
    assert_eq!(db.begin_read().unwrap().count(SET, ..).unwrap(), 1);
}
