//! The choice of images: which of the files that a cut may leave are looked at.
//!
//! Owns: all of them where they are few; else the extreme ones, every combination of the redo log's blocks,
//! samples, and some with torn blocks.

use crate::disk::{Block, Disk};
use crate::pool::{BLOCK, Content, Image, Pool};
use rand::Rng;
use rand::rngs::StdRng;

/// How far back a sample looks that has everything up to some write.
const WINDOW: u64 = 40;

/// How many images of a cut are looked at.
#[derive(Clone, Copy, Debug)]
pub struct Amount {
    /// Combinations of uncertain blocks up to which all are tried.
    pub all_up_to: u64,
    /// Samples where there are more.
    pub samples: usize,
}

impl Disk {
    /// The images that a cut now may leave: all of them if the uncertain blocks have few combinations,
    /// else the extreme ones, those of the log's blocks, and samples; and some with torn blocks.
    pub fn images(&self, amount: Amount, pool: &mut Pool, rng: &mut StdRng, visit: &mut dyn FnMut(Image)) {
        let uncertain = Uncertain::of(self);
        let mut show = |blocks: Vec<Content>, len: u64| visit(Image { len, blocks, is_torn: false });
        if uncertain.combinations(&uncertain.open) <= amount.all_up_to {
            uncertain.each(&uncertain.oldest, &uncertain.open, &mut |blocks| {
                uncertain.lengths.iter().for_each(|len| show(blocks.to_vec(), *len));
            });
        } else {
            for len in &uncertain.lengths {
                show(uncertain.oldest.clone(), *len);
                show(uncertain.newest.clone(), *len);
            }
            self.log_images(&uncertain, &mut show);
            (0..amount.samples).for_each(|number| self.sample(number, &uncertain, rng, &mut show));
        }
        let mut show = |blocks: Vec<Content>, len: u64| visit(Image { len, blocks, is_torn: true });
        if !uncertain.open.is_empty() {
            (0..(amount.samples / 3).max(1)).for_each(|number| uncertain.torn(number, pool, rng, &mut show));
        }
    }

    /// Every combination of the log's blocks, if they are few, with all other blocks old, and new.
    fn log_images(&self, uncertain: &Uncertain, show: &mut dyn FnMut(Vec<Content>, u64)) {
        if uncertain.combinations(&uncertain.logged) <= 16 {
            for others in [&uncertain.oldest, &uncertain.newest] {
                uncertain
                    .each(others, &uncertain.logged, &mut |blocks| show(blocks.to_vec(), uncertain.len()));
            }
        }
    }

    fn sample(
        &self,
        number: usize,
        uncertain: &Uncertain,
        rng: &mut StdRng,
        show: &mut dyn FnMut(Vec<Content>, u64),
    ) {
        let Uncertain { choices, open, oldest, newest, .. } = uncertain;
        let len = uncertain.lengths[rng.random_range(0..uncertain.lengths.len())];
        let at = open[rng.random_range(0..open.len())];
        let mut any = |at: usize| choices[at][rng.random_range(0..choices[at].len())];
        match number % 5 {
            // One block is missing, or came first.
            0 if self.lies => show(with(newest, at, any(at)), uncertain.len()),
            0 => show(with(newest, at, oldest[at]), uncertain.len()),
            1 => show(with(oldest, at, any(at)), len),
            2 => {
                let others = if any(at) == oldest[at] { oldest } else { newest };
                let mut blocks = others.clone();
                uncertain.logged.iter().for_each(|at| blocks[*at] = any(*at));
                show(blocks, uncertain.len());
            }
            3 => show(self.window(rng), uncertain.len()),
            _ => {
                let part = rng.random_range(0.05..0.95);
                let pick = |old: (usize, &Content)| match rng.random_bool(part) {
                    true => choices[old.0][rng.random_range(0..choices[old.0].len())],
                    false => *old.1,
                };
                show(oldest.iter().enumerate().map(pick).collect(), len);
            }
        }
    }

    /// Everything up to one write is there, of the next few some, and nothing after them.
    fn window(&self, rng: &mut StdRng) -> Vec<Content> {
        let first = rng.random_range(0..=self.time);
        let reach = if self.lies && rng.random() { self.time } else { rng.random_range(0..WINDOW) };
        let first = first.max(self.time.saturating_sub(reach));
        let end = (first + rng.random_range(0..6)).min(self.time);
        let pick = |block: &Block| block.as_of(if rng.random() { first } else { end });
        self.blocks.iter().map(pick).collect()
    }

    /// Every length that the file had since the last flush, and one between each two.
    fn possible_lengths(&self) -> Vec<u64> {
        let mut lengths = self.lengths.clone();
        for pair in self.lengths.windows(2) {
            lengths.insert(0, (pair[0] + pair[1]) / 2 / BLOCK as u64 * BLOCK as u64);
        }
        let last = lengths.pop();
        lengths.retain(|len| Some(*len) != last);
        lengths.dedup();
        lengths.extend(last);
        lengths
    }
}

/// What a cut leaves open.
struct Uncertain {
    /// What each block may hold, oldest first.
    choices: Vec<Vec<Content>>,
    /// Blocks with a choice.
    open: Vec<usize>,
    /// Those of them that belong to the redo log.
    logged: Vec<usize>,
    oldest: Vec<Content>,
    newest: Vec<Content>,
    /// The present length is the last.
    lengths: Vec<u64>,
}

impl Uncertain {
    fn of(disk: &Disk) -> Self {
        let choices: Vec<Vec<Content>> = disk.blocks.iter().map(Block::choices).collect();
        let open: Vec<usize> = (0..choices.len()).filter(|at| choices[*at].len() > 1).collect();
        let logged = open.iter().copied().filter(|at| disk.logged.contains(at)).collect();
        let oldest = choices.iter().map(|choices| choices[0]).collect();
        let newest = choices.iter().map(|choices| choices[choices.len() - 1]).collect();
        Uncertain { choices, open, logged, oldest, newest, lengths: disk.possible_lengths() }
    }

    fn len(&self) -> u64 {
        self.lengths[self.lengths.len() - 1]
    }

    fn combinations(&self, blocks: &[usize]) -> u64 {
        let factors = blocks.iter().map(|at| self.choices[*at].len() as u64);
        factors.fold(1, u64::saturating_mul)
    }

    /// Every combination of `blocks`, with the others as they are in `others`.
    fn each(&self, others: &[Content], blocks: &[usize], visit: &mut dyn FnMut(&[Content])) {
        let mut contents = others.to_vec();
        for number in 0..self.combinations(blocks) as usize {
            let mut rest = number;
            for at in blocks {
                contents[*at] = self.choices[*at][rest % self.choices[*at].len()];
                rest /= self.choices[*at].len();
            }
            visit(&contents);
        }
    }

    /// All blocks torn, or one of a file that is whole but for it: one of the log, if there is one.
    fn torn(
        &self,
        number: usize,
        pool: &mut Pool,
        rng: &mut StdRng,
        show: &mut dyn FnMut(Vec<Content>, u64),
    ) {
        let (mut blocks, mut torn) = (self.oldest.clone(), &self.open[..]);
        if number % 2 == 1 {
            let some = if self.logged.is_empty() { torn } else { &self.logged };
            let at = rng.random_range(0..some.len());
            (blocks, torn) = (self.newest.clone(), &some[at..=at]);
        }
        for at in torn {
            let mut any = || self.choices[*at][rng.random_range(0..self.choices[*at].len())];
            let (first, second) = (any(), any());
            blocks[*at] = pool.torn(first, second, rng);
        }
        show(blocks, self.len());
    }
}

fn with(blocks: &[Content], at: usize, content: Content) -> Vec<Content> {
    let mut blocks = blocks.to_vec();
    blocks[at] = content;
    blocks
}
