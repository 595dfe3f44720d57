//! What is above the mapping, without one: leaves, branches, search and cursors on pages of heap memory. Needs no system
//! call, so Miri runs it.

#[cfg(test)]
mod tests {
    use crate::error::{Error, Result};
    use crate::format::{ChildRef, Layout, OverflowRef};
    use crate::page::{
        BranchEntries, LeafView, Stored, init_leaf, leaf_insert, leaf_overwrite, leaf_remove, separator,
    };
    use crate::snapshot::PageSource;
    use crate::tree::cursor::{Cursor, Place};
    use crate::tree::{Tree, search};
    use std::collections::HashSet;
    use std::sync::Mutex;
    use zerocopy::IntoBytes;

    const TABLE: u32 = 3;
    /// Of a branch.
    const CHILDREN: usize = 30;
    const LAYOUTS: [Layout; 3] = [
        Layout { page_size: 4096, fixed: None, align: 1, set: None },
        Layout { page_size: 4096, fixed: None, align: 8, set: None },
        Layout { page_size: 4096, fixed: Some((8, 4)), align: 1, set: None },
    ];

    /// Pages are aligned as in a mapping, and no more than that is read of each.
    #[derive(Default)]
    struct HeapPages {
        pages: Vec<Box<[u64]>>,
        /// What was asked for, a call each; `None`: all of it was touched before.
        asked: Option<Mutex<Vec<Vec<u64>>>>,
        touched: Mutex<HashSet<u64>>,
    }

    impl PageSource for HeapPages {
        fn page(&self, page: u64, _: u64) -> Result<&[u8]> {
            let found = self.pages.get(page as usize).filter(|_| page != 0);
            self.touched.lock().unwrap().insert(page);
            found.map(|words| words.as_bytes()).ok_or_else(|| Error::corrupt(page, "not there"))
        }

        fn overflow(&self, run: &OverflowRef) -> Result<&[u8]> {
            Err(Error::corrupt(run.page, "not there"))
        }

        fn prefetch_all(&self, _: u64, _: u64) -> bool {
            self.asked.is_none()
        }

        fn is_touched(&self, page: u64, _: u64) -> bool {
            self.asked.is_none() || self.touched.lock().unwrap().contains(&page)
        }

        fn read_ahead(&self, pages: &mut [u64], _: u64) {
            self.asked.as_ref().unwrap().lock().unwrap().push(pages.to_vec());
        }
    }

    impl HeapPages {
        fn add(&mut self, page_size: usize) -> (u64, &mut [u8]) {
            self.pages.push(vec![0; page_size / 8].into());
            (self.pages.len() as u64 - 1, self.pages.last_mut().unwrap().as_mut_bytes())
        }
    }

    fn key(i: u64) -> [u8; 8] {
        (1000 + i * 7).to_be_bytes()
    }

    fn value(i: u64) -> [u8; 4] {
        (i as u32).to_le_bytes()
    }

    fn insert(page: &mut [u8], layout: &Layout, i: u64) {
        let at = LeafView::new(page).unwrap().search(&key(i)).unwrap().unwrap_err();
        assert!(leaf_insert(page, layout, at, &key(i), Stored::Inline(&value(i)), 0));
    }

    /// Leaves of 20 entries, which come in from behind; one of each leaves and comes back, one is overwritten.
    fn tree(layout: Layout, leaves: u64) -> (HeapPages, Tree) {
        let mut heap = HeapPages::default();
        let mut entries = BranchEntries::default();
        // Page 0 is none.
        heap.add(8);
        for first in (0..leaves).map(|leaf| leaf * 20) {
            let (page, bytes) = heap.add(layout.page_size);
            init_leaf(bytes, &layout, TABLE);
            (first..first + 20).rev().for_each(|i| insert(bytes, &layout, i));
            leaf_remove(bytes, &layout, 11);
            insert(bytes, &layout, first + 11);
            assert!(leaf_overwrite(bytes, &layout, 5, Stored::Inline(&[0xff; 4])));
            assert!(leaf_overwrite(bytes, &layout, 5, Stored::Inline(&value(first + 5))));
            let (above, below) = (key(first), key(first.saturating_sub(1)));
            let border = if first == 0 { &[][..] } else { separator(&below, &above) };
            entries.push(border, ChildRef { page, birth: 0, count: 20 });
        }
        let mut level = 0;
        while level == 0 || entries.count() > 1 {
            level += 1;
            let mut above = BranchEntries::default();
            for from in (0..entries.count()).step_by(CHILDREN) {
                let to = entries.count().min(from + CHILDREN);
                let (page, bytes) = heap.add(layout.page_size);
                entries.write(bytes, level, TABLE, from, to);
                let count = (from..to).map(|i| entries.child(i).count).sum();
                above.push(entries.key(from), ChildRef { page, birth: 0, count });
            }
            entries = above;
        }
        (heap, Tree { root: entries.child(0), level, table: TABLE, overflow_pages: 0, layout })
    }

    #[test]
    fn what_was_put_into_heap_pages_is_found_and_walked_either_way() {
        for layout in LAYOUTS {
            let (heap, tree) = tree(layout, 5);
            let all: Vec<_> = (0..100).map(|i| (key(i), value(i))).collect();
            for (key, value) in &all {
                assert_eq!(search::find(&heap, &tree, key).unwrap(), Some(Stored::Inline(value)));
                let absent = (u64::from_be_bytes(*key) + 1).to_be_bytes();
                assert_eq!(search::find(&heap, &tree, &absent).unwrap(), None);
            }
            let mut cursor = Cursor::new(&heap, &tree, Place::AtLeast(&key(37))).unwrap();
            assert_eq!(cursor.rank().unwrap(), 37);
            for (key, value) in &all[37..] {
                assert_eq!(cursor.next().unwrap(), Some((&key[..], Stored::Inline(value))));
            }
            assert_eq!(cursor.next().unwrap(), None);
            for (key, value) in all.iter().rev() {
                assert_eq!(cursor.previous().unwrap(), Some((&key[..], Stored::Inline(value))));
            }
            assert_eq!(cursor.previous().unwrap(), None);
        }
    }

    /// The leaves of this tree are the pages 1 to 100, in order.
    fn walk_ahead(forward: bool, leaves: usize) -> Vec<Vec<u64>> {
        let (mut heap, tree) = tree(LAYOUTS[0], 100);
        assert_eq!(tree.level, 2);
        heap.asked = Some(Mutex::default());
        let mut cursor = Cursor::new(&heap, &tree, if forward { Place::Start } else { Place::End }).unwrap();
        for i in 0..leaves as u64 * 20 {
            let i = if forward { i } else { 1999 - i };
            let entry = if forward { cursor.next() } else { cursor.previous() };
            assert_eq!(entry.unwrap(), Some((&key(i)[..], Stored::Inline(&value(i)[..]))));
        }
        drop(cursor);
        heap.asked.unwrap().into_inner().unwrap()
    }

    #[test]
    fn a_walk_asks_for_leaves_ahead_of_it_once_each_and_for_more_and_more_of_them() {
        for forward in [true, false] {
            assert_eq!(walk_ahead(forward, 2), [[0; 0]; 0], "a short range asks for nothing");
            let asked = walk_ahead(forward, 100);
            let distance = |page: &u64| if forward { *page } else { 101 - page };
            let leaves: Vec<u64> =
                asked.iter().flatten().filter(|page| **page <= 100).map(distance).collect();
            assert_eq!(leaves, (4..=100).collect::<Vec<u64>>());
            let calls: Vec<_> = asked.iter().filter(|pages| pages.iter().any(|page| *page <= 100)).collect();
            assert_eq!(calls[0].len(), 8);
            assert!(asked.len() < 12, "{asked:?}");
            // The other branch before it is needed.
            let branch = |pages: &Vec<u64>| pages.iter().any(|page| *page > 100);
            assert_eq!(asked.iter().position(branch), Some(0), "{asked:?}");
        }
    }

    #[test]
    fn searches_ask_for_all_branches_when_they_come_to_a_second_one() {
        let (mut heap, tree) = tree(LAYOUTS[0], 100);
        heap.asked = Some(Mutex::default());
        let asked_after = |i: u64| {
            assert!(search::find(&heap, &tree, &key(i)).unwrap().is_some());
            std::mem::take(&mut *heap.asked.as_ref().unwrap().lock().unwrap())
        };
        assert_eq!([asked_after(0), asked_after(1)], [[[0; 0]; 0]; 2], "a get reads a page a level");
        let branches: Vec<u64> = (102..tree.root.page).collect();
        assert_eq!(asked_after(1999), [branches], "all but the first, which was touched");
        assert_eq!([asked_after(1000), asked_after(3)], [[[0; 0]; 0]; 2], "once");
    }

    #[test]
    fn no_byte_of_a_heap_page_makes_reading_it_panic() {
        for layout in LAYOUTS {
            let (mut heap, tree) = tree(layout, 2);
            for page in 1..heap.pages.len() {
                for word in (0..512).filter(|word| *word < 16 || *word > 480) {
                    let before = heap.pages[page][word];
                    heap.pages[page][word] = !before;
                    let mut cursor = Cursor::new(&heap, &tree, Place::Rank(7));
                    let next = || cursor.as_mut().ok().and_then(|cursor| cursor.next().ok().flatten());
                    assert!(std::iter::from_fn(next).take(50_000).count() < 50_000, "walking ends");
                    let _ = search::find(&heap, &tree, &key(25));
                    heap.pages[page][word] = before;
                }
            }
        }
    }
}
