//! What a write txn can do, beside the contents that say what it must come to; nested txns do the same to any depth.

use super::contents::{
    ANY, Bytes, Contents, Ends, Entries, LABELS, NAMES, TableModel, Value, Wide, edit, is_within, key,
    large_value, member, schemas, value, with_multi_types, with_types,
};
use super::input::{Dice, Input};
use super::look::{self, Place, any_key, go};
use mapleaf::{BulkOptions, Duplicates, Error, MultiTable, ReadTxn, Result, Table, WriteTxn};

/// So deep a txn is nested at most.
const DEPTH: u32 = 4;

type Typed<const K: usize, const V: usize, const A: usize> = Table<Wide<K, 1>, Wide<V, A>>;
type TypedMulti<const K: usize, const V: usize> = MultiTable<Wide<K, 1>, Wide<V, 1>>;

/// Errors that a fault or the quota may give to whoever writes.
pub fn is_trouble(error: &Error) -> bool {
    matches!(error, Error::Io { .. } | Error::Full { .. } | Error::Poisoned)
}

/// That a call was refused for the right reason; `Err` where trouble came before it.
pub fn refused<T: std::fmt::Debug>(result: Result<T>, is_right: impl FnOnce(&Error) -> bool) -> Result<()> {
    let error = result.expect_err("it was refused by the model");
    if is_right(&error) {
        return Ok(());
    }
    assert!(is_trouble(&error), "another error: {error:?}");
    Err(error)
}

/// A write txn, or one within it, and what it must see.
pub struct Changing<'c> {
    pub w: &'c mut WriteTxn,
    pub contents: &'c mut Contents,
    /// Its number.
    pub number: usize,
    pub page_size: usize,
    pub readers: &'c [(ReadTxn, usize)],
    pub states: &'c [Contents],
    pub depth: u32,
    /// Whether there was trouble that the txn has got over.
    pub was_troubled: bool,
}

impl Changing<'_> {
    /// One change, or some within a savepoint or a nested txn. With an error the txn can only be aborted, or rolled back.
    pub fn step(&mut self, input: &mut Input<'_>) -> Result<()> {
        let kind = input.u8() % 34;
        self.one(kind, input)
    }

    pub fn one(&mut self, kind: u8, input: &mut Input<'_>) -> Result<()> {
        match kind {
            0 | 1 => self.delete_range(input),
            2 => self.append(input),
            3 | 4 => self.bulk_load(input),
            5 | 6 => self.cursor(input),
            7 => self.entry(input),
            8 => self.compare_and_swap(input),
            9 => self.update_in_place(input),
            10 | 11 => self.retain(input),
            12 => self.pop(input),
            13 | 14 => self.put_large(input),
            15 => self.clear(input),
            16 => self.copy(input),
            17..21 => self.put_values(input),
            21 | 22 => self.delete_values(input),
            23 => self.delete_keys(input),
            24 | 25 => self.nested(input),
            26 => self.within(input),
            27 => self.put(input),
            28 => self.delete(input),
            29 => self.table(input),
            30 => self.snapshot(input),
            31 => self.other_kind(input),
            32 => self.convert(input),
            _ => {
                self.look(input);
                Ok(())
            }
        }
    }

    // ---- what is named ----

    fn name(input: &mut Input<'_>) -> &'static str {
        NAMES[input.below(NAMES.len())]
    }

    /// The schema of a table; one of the input where there is none. `None` where it is a multimap.
    fn single(&self, name: &str, input: &mut Input<'_>) -> Option<usize> {
        match self.contents.tables.get(name) {
            Some(table) => Some(table.schema).filter(|_| !table.is_multi()),
            None => Some(input.below(5)),
        }
    }

    /// The same of a multimap.
    fn multi(&self, name: &str, input: &mut Input<'_>) -> Option<usize> {
        match self.contents.tables.get(name) {
            Some(table) => Some(table.schema).filter(|_| table.is_multi()),
            None => Some(5 + input.below(4)),
        }
    }

    fn model(&mut self, name: &'static str, schema: usize) -> &mut TableModel {
        self.contents.tables.entry(name).or_insert_with(|| TableModel::new(schema))
    }

    fn entries(&self, name: &str) -> Entries {
        self.contents.tables.get(name).map_or_else(Entries::new, |table| table.entries.clone())
    }

    fn found(&self, name: &str, key: &Bytes) -> Option<Value> {
        self.contents.tables.get(name)?.entries.get(key).copied()
    }

    fn key(&self, schema: usize, input: &mut Input<'_>) -> Bytes {
        key(schema, input.u16() % 1000, self.page_size)
    }

    /// One that is there, or any.
    fn likely_key(&self, name: &str, schema: usize, input: &mut Input<'_>) -> Bytes {
        let there = self.contents.tables.get(name).and_then(|table| any_key(&table.entries, input));
        there.filter(|_| !input.u8().is_multiple_of(4)).unwrap_or_else(|| self.key(schema, input))
    }

    fn ends(&self, schema: usize, input: &mut Input<'_>) -> Ends {
        look::ends(input, |i| key(schema, i, self.page_size))
    }

    // ---- tables ----

    fn table(&mut self, input: &mut Input<'_>) -> Result<()> {
        let (name, kind) = (Self::name(input), input.u8());
        let is_there = self.contents.tables.contains_key(name);
        match kind % 4 {
            0 | 1 => {
                let schema = input.below(schemas().len());
                let created = self.w.create_table(name, &schemas()[schema]);
                if is_there {
                    return refused(created, |e| matches!(e, Error::TableExists { .. }));
                }
                created?;
                self.model(name, schema);
            }
            2 => {
                assert_eq!(self.w.drop_table(name)?, is_there);
                self.contents.tables.remove(name);
            }
            _ => {
                let to = Self::name(input);
                let renamed = self.w.rename_table(name, to);
                match (is_there, self.contents.tables.contains_key(to)) {
                    (false, _) => return refused(renamed, |e| matches!(e, Error::TableNotFound { .. })),
                    (true, true) => return refused(renamed, |e| matches!(e, Error::TableExists { .. })),
                    (true, false) => renamed?,
                }
                let table = self.contents.tables.remove(name).expect("it is there");
                self.contents.tables.insert(to, table);
            }
        }
        Ok(())
    }

    fn clear(&mut self, input: &mut Input<'_>) -> Result<()> {
        let name = Self::name(input);
        match self.single(name, input) {
            Some(schema) => with_types!(schema, self.clear_table(name)),
            None => Ok(()),
        }
    }

    fn clear_table<const K: usize, const V: usize, const A: usize>(
        &mut self,
        name: &'static str,
    ) -> Result<()> {
        let cleared = self.w.clear_table(Typed::<K, V, A>::new(name))?;
        let Some(table) = self.contents.tables.get_mut(name) else {
            assert_eq!(cleared, 0);
            return Ok(());
        };
        assert_eq!(cleared, table.entries.len() as u64);
        table.entries.clear();
        Ok(())
    }

    /// A table of a snapshot, under its name.
    fn copy(&mut self, input: &mut Input<'_>) -> Result<()> {
        let (name, number) = (Self::name(input), input.below(self.readers.len()));
        let Some((r, number)) = self.readers.get(number) else { return Ok(()) };
        let copied = self.w.copy_table(r, name);
        let Some(table) = self.states[*number].tables.get(name) else {
            return refused(copied, |e| matches!(e, Error::TableNotFound { .. }));
        };
        if self.contents.tables.contains_key(name) {
            return refused(copied, |e| matches!(e, Error::TableExists { .. }));
        }
        match copied {
            Ok(copied) => {
                assert_eq!(copied, table.len() as u64);
                self.contents.tables.insert(name, table.clone());
                Ok(())
            }
            Err(error) => self.get_over(error),
        }
    }

    /// An error that leaves everything as it was; but for trouble in that, where the txn is poisoned.
    fn get_over(&mut self, error: Error) -> Result<()> {
        assert!(is_trouble(&error), "{error:?}");
        self.was_troubled = true;
        self.w.begin_nested().map(drop)
    }

    /// Calls for the other kind of table are refused.
    fn other_kind(&mut self, input: &mut Input<'_>) -> Result<()> {
        let name = Self::name(input);
        let Some(table) = self.contents.tables.get(name) else { return Ok(()) };
        let (schema, is_multi) = (table.schema, table.is_multi());
        let (key, value) = (self.key(schema, input), member(schema, 1, self.page_size));
        let w = &mut *self.w;
        let raw = match (is_multi, input.u8() % 3) {
            (true, 0) => w.raw_put(name, &key, &value),
            (true, 1) => w.raw_delete(name, &key),
            (true, _) => w.raw_put_from(name, &key, value.len() as u64, &value[..]),
            (false, 0) => w.raw_put_value(name, &key, &value),
            (false, 1) => w.raw_delete_value(name, &key, &value),
            (false, _) => w.raw_delete_values(name, &key).map(|_| true),
        };
        refused(raw, |e| matches!(e, Error::InvalidArgument { .. }))?;
        let typed = match is_multi {
            true => w.put(Table::<[u8], [u8]>::new(name), &key[..], &value[..]),
            false => w.put_value(MultiTable::<[u8], [u8]>::new(name), &key[..], &value[..]),
        };
        refused(typed, |e| matches!(e, Error::SchemaMismatch { .. }))
    }

    fn convert(&mut self, input: &mut Input<'_>) -> Result<()> {
        let name = Self::name(input);
        match self.single(name, input) {
            Some(schema) => with_types!(schema, self.convert_from(name, input)),
            None => Ok(()),
        }
    }

    fn convert_from<const K: usize, const V: usize, const A: usize>(
        &mut self,
        name: &'static str,
        input: &mut Input<'_>,
    ) -> Result<()> {
        let (kind, schema) = (input.u8(), input.below(5));
        let old = Typed::<K, V, A>::new(name);
        match schema {
            0 => self.convert_to::<K, V, A, ANY, ANY, 1>(old, schema, kind, input),
            1 => self.convert_to::<K, V, A, 4, 12, 1>(old, schema, kind, input),
            2 => self.convert_to::<K, V, A, ANY, ANY, 8>(old, schema, kind, input),
            3 => self.convert_to::<K, V, A, 2, 0, 1>(old, schema, kind, input),
            _ => self.convert_to::<K, V, A, 6, ANY, 1>(old, schema, kind, input),
        }
    }

    fn convert_to<
        const K: usize,
        const V: usize,
        const A: usize,
        const L: usize,
        const W: usize,
        const B: usize,
    >(
        &mut self,
        old: Typed<K, V, A>,
        schema: usize,
        kind: u8,
        input: &mut Input<'_>,
    ) -> Result<()> {
        let name = old.name();
        let there = self.contents.tables.get(name).map(|table| table.entries.clone());
        if kind & 1 == 0 {
            let retyped = self.w.retype_table(old, Typed::<L, W, B>::new(name));
            let Some(there) = there else {
                assert_eq!(retyped?, 0);
                return Ok(());
            };
            let fits = |width: usize, len: usize| width == ANY || width == len;
            if !there.iter().all(|(key, value)| fits(L, key.len()) && fits(W, value.len as usize)) {
                return refused(retyped, |e| matches!(e, Error::WrongWidth { .. } | Error::Decode { .. }));
            }
            assert_eq!(retyped?, there.len() as u64);
            self.contents.tables.get_mut(name).expect("it is there").schema = schema;
            return Ok(());
        }
        let to = if kind & 2 == 0 { name } else { Self::name(input) };
        let (fill, page_size) = (input.u8(), self.page_size);
        // Each becomes one, none or two, in order, the other way round, or by chance, perhaps with the same key.
        let made = |i: usize| {
            let mut dice = Dice(i as u64 * 31 + u64::from(fill));
            let count = if kind & 4 == 0 { 1 } else { dice.below(3) as usize };
            (0..count).map(move |n| {
                let number = match kind >> 3 & 3 {
                    0 => i * 2 + n,
                    1 => 20_000 - i * 2 - n,
                    _ => Dice((i * 2 + n) as u64).below(60_000) as usize,
                };
                let value = value(schema, fill.wrapping_add(i as u8 % 5), page_size);
                (key(schema, number as u16, page_size), value)
            })
        };
        let mut i = 0;
        let converted = self.w.convert_table(old, Typed::<L, W, B>::new(to), |_, _, new| {
            i += 1;
            made(i - 1).try_for_each(|(key, value)| new.put(&Wide::new(&key), &Wide(value.bytes())))
        });
        let Some(there) = there else {
            assert_eq!(converted?, 0);
            return Ok(());
        };
        if to != name && self.contents.tables.contains_key(to) {
            return refused(converted, |e| matches!(e, Error::TableExists { .. }));
        }
        let mut table = TableModel::new(schema);
        let all = (0..there.len()).flat_map(made);
        if !all.fold(true, |is_new, (key, value)| table.entries.insert(key, value).is_none() && is_new) {
            return refused(converted, |e| matches!(e, Error::InvalidArgument { .. }));
        }
        assert_eq!(converted?, table.entries.len() as u64);
        self.contents.tables.remove(name);
        self.contents.tables.insert(to, table);
        Ok(())
    }

    fn snapshot(&mut self, input: &mut Input<'_>) -> Result<()> {
        let name = LABELS[input.below(LABELS.len())];
        let is_there = self.contents.snapshots.contains_key(name);
        if input.u8().is_multiple_of(2) {
            let created = self.w.create_snapshot(name);
            if is_there {
                return refused(created, |e| matches!(e, Error::SnapshotExists { .. }));
            }
            created?;
            self.contents.snapshots.insert(name, self.number);
        } else {
            assert_eq!(self.w.drop_snapshot(name)?, is_there);
            self.contents.snapshots.remove(name);
        }
        Ok(())
    }

    // ---- entries ----

    fn put(&mut self, input: &mut Input<'_>) -> Result<()> {
        let (name, first, count, fill) = (Self::name(input), input.u16() % 1000, input.u8(), input.u8());
        let Some(table) = self.contents.tables.get(name) else { return Ok(()) };
        let schema = table.schema;
        if table.is_multi() {
            return Ok(());
        }
        for i in 0..u16::from(count) {
            let key = key(schema, first + i * 3, self.page_size);
            let value = value(schema, fill.wrapping_add((i % 7) as u8 * 10), self.page_size);
            let was_there = self.w.raw_put(name, &key, &value.bytes())?;
            assert_eq!(self.model(name, schema).entries.insert(key, value).is_some(), was_there);
        }
        Ok(())
    }

    fn delete(&mut self, input: &mut Input<'_>) -> Result<()> {
        let (name, first, count) = (Self::name(input), input.u16() % 1000, input.u8());
        let Some(schema) = self.contents.tables.get(name).map(|table| table.schema) else { return Ok(()) };
        if self.single(name, input).is_none() {
            return Ok(());
        }
        for i in 0..u16::from(count) {
            let key = key(schema, first + i * 2, self.page_size);
            let was_there = self.w.raw_delete(name, &key)?;
            assert_eq!(self.model(name, schema).entries.remove(&key).is_some(), was_there);
        }
        Ok(())
    }

    fn delete_range(&mut self, input: &mut Input<'_>) -> Result<()> {
        let (name, is_raw) = (Self::name(input), input.u8().is_multiple_of(2));
        let Some(table) = self.contents.tables.get(name) else {
            return refused(self.w.raw_delete_range(name, ..), |e| matches!(e, Error::TableNotFound { .. }));
        };
        let (schema, is_multi) = (table.schema, table.is_multi());
        let ends = self.ends(schema, input);
        if is_raw || is_multi {
            let removed = self.w.raw_delete_range(name, ends.clone())?;
            assert_eq!(self.model(name, schema).take_range(&ends), removed);
            return Ok(());
        }
        with_types!(schema, self.delete_typed_range(name, &ends))
    }

    fn delete_typed_range<const K: usize, const V: usize, const A: usize>(
        &mut self,
        name: &'static str,
        ends: &Ends,
    ) -> Result<()> {
        let range = (ends.0.clone().map(Wide::<K, 1>), ends.1.clone().map(Wide::<K, 1>));
        let removed = self.w.delete_range(Typed::<K, V, A>::new(name), range)?;
        assert_eq!(self.contents.tables.get_mut(name).expect("it is there").take_range(ends), removed);
        Ok(())
    }

    fn append(&mut self, input: &mut Input<'_>) -> Result<()> {
        let name = Self::name(input);
        match self.single(name, input) {
            Some(schema) => with_types!(schema, self.append_typed(name, schema, input)),
            None => Ok(()),
        }
    }

    fn append_typed<const K: usize, const V: usize, const A: usize>(
        &mut self,
        name: &'static str,
        schema: usize,
        input: &mut Input<'_>,
    ) -> Result<()> {
        let (count, fill) = (input.u8() % 60, input.u8());
        let first = input.u16() % 2000;
        for i in 0..u16::from(count) {
            // Number 2 and every fourth after it have a prefix that is above many.
            let key = key(schema, first + i * 4, self.page_size);
            let value = value(schema, fill.wrapping_add((i as u8).wrapping_mul(7)), self.page_size);
            let last = self.contents.tables.get(name).and_then(|table| table.entries.keys().next_back());
            let (k, v) = (Wide::<K, 1>::new(&key), Wide::<V, A>(value.bytes()));
            let is_above = last.is_none_or(|last| key > *last);
            let result = self.w.append(Typed::<K, V, A>::new(name), &k, &v);
            if !is_above {
                return refused(result, |e| matches!(e, Error::InvalidArgument { .. }));
            }
            result?;
            self.model(name, schema).entries.insert(key, value);
        }
        Ok(())
    }

    fn bulk_load(&mut self, input: &mut Input<'_>) -> Result<()> {
        let name = Self::name(input);
        match self.single(name, input) {
            Some(schema) => with_types!(schema, self.load_typed(name, schema, input)),
            None => Ok(()),
        }
    }

    fn load_typed<const K: usize, const V: usize, const A: usize>(
        &mut self,
        name: &'static str,
        schema: usize,
        input: &mut Input<'_>,
    ) -> Result<()> {
        let kind = input.u8();
        let duplicates =
            [Duplicates::LastWins, Duplicates::FirstWins, Duplicates::Refused][usize::from(kind % 3)];
        let memory = [1, 300, 6000, 64 << 20][usize::from(kind / 3 % 4)];
        let entries = self.load_of(schema, kind / 12, input);
        // Where the input fails, or has an entry that no table takes.
        let wrong = (kind >= 240).then_some((entries.len() / 2, kind.is_multiple_of(2)));
        let load = entries.iter().enumerate().map(|(i, (key, value))| match wrong {
            Some((at, true)) if at == i => Err(Error::UnknownSavepoint),
            Some((at, false)) if at == i => Ok((Wide::<K, 1>(vec![1; 40_000]), Wide::<V, A>(value.bytes()))),
            _ => Ok((Wide::<K, 1>::new(key), Wide::<V, A>(value.bytes()))),
        });
        let options = BulkOptions { memory, directory: None, duplicates };
        let loaded = self.w.try_bulk_load(Typed::<K, V, A>::new(name), options, load);
        let mut after = self.entries(name);
        let (before, mut is_refused) = (after.len(), false);
        for (key, value) in &entries {
            if !after.contains_key(key) || duplicates == Duplicates::LastWins {
                after.insert(key.clone(), *value);
            } else {
                is_refused |= duplicates == Duplicates::Refused;
            }
        }
        let is_wrong = wrong.is_some() && !entries.is_empty();
        if is_wrong || is_refused {
            return refused(loaded, |e| match e {
                Error::UnknownSavepoint | Error::KeyTooLong { .. } | Error::WrongWidth { .. } => is_wrong,
                Error::InvalidArgument { .. } => is_refused,
                _ => false,
            });
        }
        assert_eq!(loaded?, (after.len() - before) as u64);
        self.model(name, schema).entries = after;
        Ok(())
    }

    /// Entries in some order, perhaps with the same keys.
    fn load_of(&self, schema: usize, order: u8, input: &mut Input<'_>) -> Vec<(Bytes, Value)> {
        let (count, first, fill) = (input.u16() % 1400, input.u16() % 1000, input.u8());
        let count = if order % 5 > 2 { count } else { count / 8 };
        let mut dice = Dice(u64::from(fill));
        let mut entries: Vec<(Bytes, Value)> = (0..count)
            .map(|i| {
                let number = if order & 4 == 0 { i } else { dice.below(1500) as u16 };
                // Not many large ones.
                let kind = if i % 64 == 3 { fill } else { fill - fill % 10 + (i % 4) as u8 };
                (key(schema, first + number, self.page_size), value(schema, kind, self.page_size))
            })
            .collect();
        match order & 3 {
            0 => entries.sort_by(|a, b| a.0.cmp(&b.0)),
            1 => entries.sort_by(|a, b| b.0.cmp(&a.0)),
            2 => {
                // In order, but for some at the end.
                let at = entries.len() * 9 / 10;
                entries[..at].sort_by(|a, b| a.0.cmp(&b.0));
            }
            _ => {}
        }
        entries
    }

    fn cursor(&mut self, input: &mut Input<'_>) -> Result<()> {
        let name = Self::name(input);
        match self.single(name, input) {
            Some(schema) => with_types!(schema, self.cursor_typed(name, schema, input)),
            None => Ok(()),
        }
    }

    fn cursor_typed<const K: usize, const V: usize, const A: usize>(
        &mut self,
        name: &'static str,
        schema: usize,
        input: &mut Input<'_>,
    ) -> Result<()> {
        let page_size = self.page_size;
        let mut model = self.contents.tables.get(name).cloned();
        let mut nothing = Entries::new();
        let mut cursor = self.w.cursor_mut(Typed::<K, V, A>::new(name))?;
        let mut place = Place::Start;
        let same = |found: Option<(&[u8], &[u8])>, right: Option<(Bytes, Value)>| {
            let is_same = match (&found, &right) {
                (Some((k, v)), Some((key, value))) => *k == &key[..] && value.is(v),
                (None, None) => true,
                _ => false,
            };
            assert!(is_same, "{:?}, not {right:?}", found.map(|(k, v)| (k.to_vec(), v.len())));
        };
        for _ in 0..input.below(32) {
            let step = input.u8() % 20;
            let map = model.as_mut().map_or(&mut nothing, |model| &mut model.entries);
            let to = if matches!(step, 4..=8 | 10 | 11) {
                key(schema, input.u16() % 1000, page_size)
            } else {
                Bytes::default()
            };
            match step {
                0..10 => {
                    let right = place.go(map, step, &to);
                    same(go!(cursor, step, &Wide::<K, 1>::new(&to))?, right);
                }
                10 => {
                    let value = value(schema, input.u8(), page_size);
                    let was_there = cursor.put(&Wide::new(&to), &Wide(value.bytes()))?;
                    let map = &mut model.get_or_insert_with(|| TableModel::new(schema)).entries;
                    assert_eq!(map.insert(to.clone(), value).is_some(), was_there);
                    place = Place::On(to);
                }
                11 => {
                    let found = cursor.get(&Wide::new(&to))?;
                    let right = map.get(&to);
                    assert!(found.map_or(right.is_none(), |found| right.is_some_and(|v| v.is(found))));
                }
                12..14 => {
                    let value = value(schema, input.u8(), page_size);
                    let replaced = cursor.replace(&Wide(value.bytes()))?;
                    assert_eq!(replaced, place.current(map).is_some());
                    if let Place::On(key) = &place {
                        map.insert(key.clone(), value);
                    }
                }
                14..18 => {
                    let right = place.current(map);
                    assert_eq!(cursor.delete()?, right.is_some());
                    if let Some((key, _)) = right {
                        map.remove(&key);
                        place = Place::Gap(key);
                    }
                }
                _ => {
                    let right = place.current(map);
                    let removed = cursor.remove()?;
                    same(removed.as_ref().map(|removed| removed.entry()), right.clone());
                    if let Some((key, _)) = right {
                        map.remove(&key);
                        place = Place::Gap(key);
                    }
                }
            }
        }
        if let Some(model) = model {
            self.contents.tables.insert(name, model);
        }
        Ok(())
    }

    fn entry(&mut self, input: &mut Input<'_>) -> Result<()> {
        let name = Self::name(input);
        match self.single(name, input) {
            Some(schema) => with_types!(schema, self.entry_typed(name, schema, input)),
            None => Ok(()),
        }
    }

    fn entry_typed<const K: usize, const V: usize, const A: usize>(
        &mut self,
        name: &'static str,
        schema: usize,
        input: &mut Input<'_>,
    ) -> Result<()> {
        let key = self.likely_key(name, schema, input);
        let (kind, value) = (input.u8(), value(schema, input.u8(), self.page_size));
        let old = self.found(name, &key);
        let (t, k) = (Typed::<K, V, A>::new(name), Wide::<K, 1>::new(&key));
        let mut entry = self.w.entry(t, &k)?;
        let found = entry.get()?;
        assert!(found.map_or(old.is_none(), |found| old.is_some_and(|old| old.is(found))));
        let new = match kind % 6 {
            0 => {
                let right = old.unwrap_or(value);
                assert!(right.is(entry.or_insert(&Wide(value.bytes()))?));
                Some(right)
            }
            1 => {
                let right = old.unwrap_or(value);
                assert!(right.is(entry.or_insert_with(|| Wide(value.bytes()))?));
                Some(right)
            }
            2 => {
                let entry = entry.and_modify(|_| Wide(value.bytes()))?;
                let right = old.map_or(Value::new(value.len as usize, 9), |_| value);
                let other = Wide(Value::new(value.len as usize, 9).bytes());
                assert!(right.is(entry.or_insert(&other)?));
                Some(right)
            }
            3 => {
                assert_eq!(entry.insert(&Wide(value.bytes()))?, old.is_some());
                assert!(entry.get()?.is_some_and(|found| value.is(found)));
                let removed = if kind >= 128 { entry.remove()? } else { None };
                assert!(removed.is_none_or(|removed| value.is(removed.value())));
                (kind < 128).then_some(value)
            }
            4 => {
                let removed = entry.remove()?;
                assert_eq!(removed.as_ref().map(|r| r.key_bytes()), old.map(|_| &key[..]));
                assert!(removed.is_none_or(|removed| old.is_some_and(|old| old.is(removed.value()))));
                assert!(entry.get()?.is_none());
                None
            }
            _ => old,
        };
        match new {
            Some(value) => drop(self.model(name, schema).entries.insert(key, value)),
            // An entry that was put has made the table.
            None if kind % 6 == 3 => drop(self.model(name, schema).entries.remove(&key)),
            None => drop(self.contents.tables.get_mut(name).map(|table| table.entries.remove(&key))),
        }
        Ok(())
    }

    fn compare_and_swap(&mut self, input: &mut Input<'_>) -> Result<()> {
        let name = Self::name(input);
        match self.single(name, input) {
            Some(schema) => with_types!(schema, self.swap_typed(name, schema, input)),
            None => Ok(()),
        }
    }

    fn swap_typed<const K: usize, const V: usize, const A: usize>(
        &mut self,
        name: &'static str,
        schema: usize,
        input: &mut Input<'_>,
    ) -> Result<()> {
        let key = self.likely_key(name, schema, input);
        let (kind, value) = (input.u8(), value(schema, input.u8(), self.page_size));
        let old = self.found(name, &key);
        let expected = match kind % 4 {
            0 => None,
            1 => Some(value),
            _ => old,
        };
        let new = (kind & 4 == 0).then_some(value);
        let wide = |value: Option<Value>| value.map(|value| Wide::<V, A>(value.bytes()));
        let (k, was, becomes) = (Wide::<K, 1>::new(&key), wide(expected), wide(new));
        let t = Typed::<K, V, A>::new(name);
        let swapped = self.w.compare_and_swap(t, &k, was.as_ref(), becomes.as_ref())?;
        let same = |a: Option<Value>, b: Option<Value>| a.map(Value::bytes) == b.map(Value::bytes);
        assert_eq!(swapped, same(expected, old));
        if swapped {
            match new {
                Some(value) => drop(self.model(name, schema).entries.insert(key, value)),
                None => drop(self.contents.tables.get_mut(name).map(|table| table.entries.remove(&key))),
            }
        }
        Ok(())
    }

    fn update_in_place(&mut self, input: &mut Input<'_>) -> Result<()> {
        let name = Self::name(input);
        match self.single(name, input) {
            Some(schema) => with_types!(schema, self.edit_typed(name, schema, input)),
            None => Ok(()),
        }
    }

    fn edit_typed<const K: usize, const V: usize, const A: usize>(
        &mut self,
        name: &'static str,
        schema: usize,
        input: &mut Input<'_>,
    ) -> Result<()> {
        for _ in 0..1 + input.below(4) {
            let (key, by) = (self.likely_key(name, schema, input), input.u8());
            let old = self.found(name, &key);
            let (t, k) = (Typed::<K, V, A>::new(name), Wide::<K, 1>::new(&key));
            let edited = self.w.update_in_place(t, &k, |bytes| {
                assert!(old.expect("it is there").is(bytes), "another value is edited");
                edit(bytes, by);
                bytes.len() as u32
            })?;
            assert_eq!(edited, old.map(|old| old.len));
            if let Some(table) = self.contents.tables.get_mut(name)
                && let Some(value) = table.entries.get_mut(&key)
            {
                value.edited ^= by;
            }
        }
        Ok(())
    }

    fn retain(&mut self, input: &mut Input<'_>) -> Result<()> {
        let name = Self::name(input);
        match self.single(name, input) {
            Some(schema) => with_types!(schema, self.retain_typed(name, schema, input)),
            None => Ok(()),
        }
    }

    fn retain_typed<const K: usize, const V: usize, const A: usize>(
        &mut self,
        name: &'static str,
        schema: usize,
        input: &mut Input<'_>,
    ) -> Result<()> {
        let (ends, kind) = (self.ends(schema, input), input.u8());
        let range = (ends.0.clone().map(Wide::<K, 1>), ends.1.clone().map(Wide::<K, 1>));
        let t = Typed::<K, V, A>::new(name);
        let goes = |key: &[u8], len: usize| {
            let sum = key.iter().fold(0u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(*byte));
            match kind % 4 {
                0 => true,
                1 => sum % 2 == 0,
                2 => sum % 16 > 0,
                _ => len < 50,
            }
        };
        let map = self.entries(name);
        let mut wanted = map
            .iter()
            .filter(|(key, value)| is_within(&ends, key) && goes(key, value.len as usize))
            .map(|(key, value)| (key.clone(), *value));
        let gone: Vec<(Bytes, Value)> = if kind & 4 == 0 {
            let gone: Vec<_> = wanted.collect();
            let removed = self.w.retain(t, range, |key, value| !goes(key, value.len()))?;
            assert_eq!(removed, gone.len() as u64);
            gone
        } else {
            // What is not taken stays.
            let most = if kind & 8 == 0 { usize::MAX } else { input.below(40) };
            let taken = self.w.extract_if(t, range, |key, value| goes(key, value.len()))?;
            let mut gone = Vec::new();
            for removed in taken.take(most) {
                let (removed, right) = (removed?, wanted.next().expect("no more are wanted"));
                assert!(removed.key() == &right.0[..] && right.1.is(removed.value()), "{removed:?}");
                gone.push(right);
            }
            assert!(gone.len() == most || wanted.next().is_none(), "some are left");
            gone
        };
        if let Some(table) = self.contents.tables.get_mut(name) {
            gone.iter().for_each(|(key, _)| _ = table.entries.remove(key));
        }
        Ok(())
    }

    fn pop(&mut self, input: &mut Input<'_>) -> Result<()> {
        let name = Self::name(input);
        match self.single(name, input) {
            Some(schema) => with_types!(schema, self.pop_typed(name, schema, input)),
            None => Ok(()),
        }
    }

    fn pop_typed<const K: usize, const V: usize, const A: usize>(
        &mut self,
        name: &'static str,
        schema: usize,
        input: &mut Input<'_>,
    ) -> Result<()> {
        let (count, kind, t) = (input.u8() % 64, input.u8(), Typed::<K, V, A>::new(name));
        for i in 0..count {
            let is_first = if kind & 1 == 0 { kind & 2 == 0 } else { i % 2 == 0 };
            let key = if kind >= 192 { Some(self.likely_key(name, schema, input)) } else { None };
            let removed = match &key {
                Some(key) => self.w.remove(t, &Wide::<K, 1>::new(key))?,
                None if is_first => self.w.pop_first(t)?,
                None => self.w.pop_last(t)?,
            };
            let map = self.contents.tables.get_mut(name).map(|table| &mut table.entries);
            let right = map.and_then(|map| match &key {
                Some(key) => map.remove_entry(key),
                None if is_first => map.pop_first(),
                None => map.pop_last(),
            });
            match (removed, right) {
                (None, None) if key.is_none() => break,
                (None, None) => {}
                (Some(removed), Some((key, value))) => {
                    assert!(removed.key() == &key[..] && value.is(removed.value()), "{removed:?}");
                }
                (removed, right) => panic!("{removed:?}, not {right:?}"),
            }
        }
        Ok(())
    }

    // ---- large values ----

    fn put_large(&mut self, input: &mut Input<'_>) -> Result<()> {
        let name = Self::name(input);
        match self.single(name, input) {
            Some(schema) => with_types!(schema, self.put_large_typed(name, schema, input)),
            None => Ok(()),
        }
    }

    fn put_large_typed<const K: usize, const V: usize, const A: usize>(
        &mut self,
        name: &'static str,
        schema: usize,
        input: &mut Input<'_>,
    ) -> Result<()> {
        let (key, kind, fill) = (self.likely_key(name, schema, input), input.u8(), input.u8());
        let value = match kind & 64 {
            0 => large_value(schema, fill, self.page_size),
            _ => value(schema, fill, self.page_size),
        };
        let (t, k) = (Typed::<K, V, A>::new(name), Wide::<K, 1>::new(&key));
        let (bytes, len) = (value.bytes(), value.len as usize);
        let was_there = self.found(name, &key).is_some();
        let fails = kind & 48 == 48;
        let is_there = self.contents.tables.contains_key(name);
        let put = match kind % 8 {
            0 => self.w.put(t, &k, &Wide::<V, A>(bytes)),
            1 | 2 => {
                let fill = |place: &mut [u8]| {
                    assert!(place.iter().all(|byte| *byte == 0), "it is not zeros");
                    place.copy_from_slice(&bytes);
                    if fails { Err(Error::UnknownSavepoint) } else { Ok(was_there) }
                };
                self.w.try_reserve(t, &k, len, fill)
            }
            3 => self.w.reserve(t, &k, len, |place| place.copy_from_slice(&bytes)).map(|()| was_there),
            kind if kind > 5 || !is_there => {
                // With some to spare, or one byte too few.
                let source = if fails { &bytes[..len.saturating_sub(1)] } else { &bytes[..] };
                self.w.put_from(t, &k, len as u64, source)
            }
            _ => {
                let source = if fails { &bytes[..len.saturating_sub(1)] } else { &bytes[..] };
                self.w.raw_put_from(name, &key, len as u64, source)
            }
        };
        let is_fallible = matches!(kind % 8, 1 | 2) || (kind % 8 > 3 && len > 0);
        match put {
            Ok(replaced) => {
                assert!(!(fails && is_fallible), "a source that fails was taken");
                assert_eq!(replaced, was_there);
                self.model(name, schema).entries.insert(key, value);
                Ok(())
            }
            Err(Error::UnknownSavepoint) if fails => Ok(()),
            Err(error) => self.get_over(error),
        }
    }

    // ---- multimaps ----

    /// Few keys have many values.
    fn multi_key(&self, schema: usize, input: &mut Input<'_>) -> Bytes {
        let number = match input.u8() {
            few @ 0..192 => u16::from(few % 6) * 37,
            _ => input.u16() % 1000,
        };
        key(schema, number, self.page_size)
    }

    fn put_values(&mut self, input: &mut Input<'_>) -> Result<()> {
        let name = Self::name(input);
        match self.multi(name, input) {
            Some(schema) => with_multi_types!(schema, self.put_values_typed(name, schema, input)),
            None => Ok(()),
        }
    }

    fn put_values_typed<const K: usize, const V: usize>(
        &mut self,
        name: &'static str,
        schema: usize,
        input: &mut Input<'_>,
    ) -> Result<()> {
        let (mut key, count) = (self.multi_key(schema, input), input.u16() % 400);
        let (first, kind) = (input.u16() % 1000, input.u8());
        for i in 0..count {
            let value = member(schema, first.wrapping_add(i * u16::from(1 + kind % 5)), self.page_size);
            if kind & 128 != 0 {
                key = super::contents::key(schema, first.wrapping_add(i) % 1000, self.page_size);
            }
            let added = if kind & 64 == 0 || !self.contents.tables.contains_key(name) {
                let t = TypedMulti::<K, V>::new(name);
                self.w.put_value(t, &Wide::new(&key), &Wide::new(&value))?
            } else {
                self.w.raw_put_value(name, &key, &value)?
            };
            assert_eq!(self.model(name, schema).add(&key, value), added);
        }
        Ok(())
    }

    fn delete_values(&mut self, input: &mut Input<'_>) -> Result<()> {
        let name = Self::name(input);
        match self.multi(name, input) {
            Some(schema) => with_multi_types!(schema, self.delete_values_typed(name, schema, input)),
            None => Ok(()),
        }
    }

    fn delete_values_typed<const K: usize, const V: usize>(
        &mut self,
        name: &'static str,
        schema: usize,
        input: &mut Input<'_>,
    ) -> Result<()> {
        let (mut key, count) = (self.multi_key(schema, input), input.u16() % 400);
        let (first, kind) = (input.u16() % 1000, input.u8());
        let t = TypedMulti::<K, V>::new(name);
        let is_there = self.contents.tables.contains_key(name);
        if kind % 8 == 7 {
            let removed = match is_there && kind & 64 == 0 {
                true => self.w.raw_delete_values(name, &key)?,
                false => self.w.delete_values(t, &Wide::new(&key))?,
            };
            let set = self.contents.tables.get_mut(name).and_then(|table| table.sets.remove(&key));
            assert_eq!(removed, set.map_or(0, |set| set.len() as u64));
            return Ok(());
        }
        for i in 0..count {
            let value = member(schema, first.wrapping_add(i * u16::from(1 + kind % 3)), self.page_size);
            if kind & 128 != 0 {
                key = super::contents::key(schema, first.wrapping_add(i) % 1000, self.page_size);
            }
            let was_there = match is_there && kind & 64 == 0 {
                true => self.w.raw_delete_value(name, &key, &value)?,
                false => self.w.delete_value(t, &Wide::new(&key), &Wide::new(&value))?,
            };
            let table = self.contents.tables.get_mut(name);
            assert_eq!(table.is_some_and(|table| table.take(&key, &value)), was_there);
        }
        Ok(())
    }

    fn delete_keys(&mut self, input: &mut Input<'_>) -> Result<()> {
        let name = Self::name(input);
        match self.multi(name, input) {
            Some(schema) => with_multi_types!(schema, self.delete_keys_typed(name, schema, input)),
            None => Ok(()),
        }
    }

    fn delete_keys_typed<const K: usize, const V: usize>(
        &mut self,
        name: &'static str,
        schema: usize,
        input: &mut Input<'_>,
    ) -> Result<()> {
        let ends = self.ends(schema, input);
        let range = (ends.0.clone().map(Wide::<K, 1>), ends.1.clone().map(Wide::<K, 1>));
        let removed = self.w.delete_keys(TypedMulti::<K, V>::new(name), range)?;
        let table = self.contents.tables.get_mut(name);
        assert_eq!(table.map_or(0, |table| table.take_range(&ends)), removed);
        Ok(())
    }

    // ---- txns within ----

    fn nested(&mut self, input: &mut Input<'_>) -> Result<()> {
        if self.depth >= DEPTH {
            return Ok(());
        }
        let (kind, steps) = (input.u8(), input.below(6));
        let before = self.contents.clone();
        let mut was_troubled = false;
        let mut run = |n: &mut WriteTxn, contents: &mut Contents| {
            let mut inner = Changing {
                w: n,
                contents,
                number: self.number,
                page_size: self.page_size,
                readers: self.readers,
                states: self.states,
                depth: self.depth + 1,
                was_troubled: false,
            };
            let result = (0..steps).try_for_each(|_| inner.step(input));
            was_troubled = inner.was_troubled;
            result
        };
        let is_kept = kind % 4 < 2;
        let ended = if kind & 16 == 0 {
            self.w.nested(|n| {
                run(n, self.contents)?;
                n.set_user_version(n.user_version() + u64::from(!is_kept));
                if is_kept { Ok(()) } else { Err(Error::UnknownSavepoint) }
            })
        } else {
            let mut n = self.w.begin_nested()?;
            match run(&mut n, self.contents) {
                Ok(()) if is_kept => n.commit(),
                Ok(()) => {
                    n.set_user_version(0);
                    drop(n);
                    Err(Error::UnknownSavepoint)
                }
                Err(error) if kind & 32 == 0 => {
                    drop(n);
                    Err(error)
                }
                // Of a txn that is poisoned.
                Err(error) => n.commit().and(Err(error)),
            }
        };
        self.was_troubled |= was_troubled;
        let Err(error) = ended else { return Ok(()) };
        *self.contents = before;
        if matches!(error, Error::UnknownSavepoint) {
            // It may be that it could not be undone.
            self.w.begin_nested()?;
        } else {
            self.get_over(error)?;
        }
        assert_eq!(self.w.user_version(), self.number as u64);
        Ok(())
    }

    /// Some changes behind a savepoint, which is rolled back to, or released.
    fn within(&mut self, input: &mut Input<'_>) -> Result<()> {
        if self.depth >= DEPTH {
            return Ok(());
        }
        let (kind, steps) = (input.u8(), input.below(5));
        let before = self.contents.clone();
        let savepoint = self.w.savepoint();
        self.depth += 1;
        let mut result = (0..steps).try_for_each(|_| self.step(input));
        self.depth -= 1;
        if let Err(error) = &result {
            assert!(is_trouble(error), "{error:?}");
            self.was_troubled = true;
        }
        if kind & 1 == 0 || result.is_err() {
            self.w.rollback_to(savepoint)?;
            *self.contents = before;
            result = Ok(());
        }
        if kind & 2 == 0 {
            self.w.release(savepoint)?;
            let released = self.w.rollback_to(savepoint);
            refused(released, |e| matches!(e, Error::UnknownSavepoint))?;
        }
        result
    }

    // ---- reading ----

    /// What the txn sees itself.
    pub fn look(&mut self, input: &mut Input<'_>) {
        let names = self.w.tables().expect("good").into_iter().map(|table| (table.name, table.len));
        let right = self.contents.tables.iter().map(|(name, table)| ((*name).to_owned(), table.len() as u64));
        assert!(names.eq(right), "other tables");
        let snapshots = self.w.snapshots().expect("good").into_iter();
        let snapshots = snapshots.map(|snapshot| (snapshot.name, snapshot.user_version as usize));
        let right = self.contents.snapshots.iter().map(|(name, number)| ((*name).to_owned(), *number));
        assert!(snapshots.eq(right), "other snapshots");
        for (name, table) in &self.contents.tables {
            look::assert_table(&*self.w, name, table, input.below(400));
            look::look(&*self.w, name, table, self.page_size, input);
        }
    }
}
