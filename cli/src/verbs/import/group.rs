//! Gathers the lines of each order, in bounded memory.
//!
//! Files nearly always keep an order's rows together, so an order is complete when the next one
//! begins. A first pass over the file finds the orders whose rows stand apart, and where each of
//! them ends; only those are held until their last row. Whatever the first pass misses (it remembers
//! [`MAX_SEEN`] orders) is still not lost silently: the second part of an order meets the first on
//! the server, differs from it and is reported.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use domain::order::MAX_ITEMS;
use domain::{Amount, MoneyError, Text};

use super::columns::Layout;
use super::file::{FileError, Records};
use super::line::{Content, Head, Item};

/// Orders that the first pass remembers, at about 16 bytes each.
const MAX_SEEN: usize = 4_000_000;
/// Rows held for orders whose rows stand apart.
const MAX_HELD_ROWS: usize = 200_000;

/// Why grouping gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the rows of too many orders stand apart (above {MAX_HELD_ROWS} rows to hold at once); sort the file by order id"
)]
pub(crate) struct TooSpread;

/// Ids are compared by hash here: two orders taken for one are merely held longer.
type IdHash = u64;

fn hash(order: &[u8]) -> IdHash {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(order)
}

/// Where the orders end whose rows do not stand together.
#[derive(Debug, Default)]
pub(crate) struct Spread {
    last_line: HashMap<IdHash, u64>,
}

/// Finds the orders of a file whose rows stand apart.
#[derive(Debug, Default)]
struct Scan {
    previous: Option<IdHash>,
    seen: HashSet<IdHash>,
    spread: Spread,
}

impl Scan {
    fn row(&mut self, order: &[u8], line: u64) {
        let order = hash(order);
        if self.previous == Some(order) {
            // A later row of an order that is already known to be spread moves its end.
            if let Some(last) = self.spread.last_line.get_mut(&order) {
                *last = line;
            }
            return;
        }
        self.previous = Some(order);
        if self.seen.contains(&order) {
            self.spread.last_line.insert(order, line);
        } else if self.seen.len() < MAX_SEEN {
            self.seen.insert(order);
        }
    }
}

impl Spread {
    pub(crate) fn find(records: &mut Records, layout: &Layout) -> Result<Self, FileError> {
        let mut scan = Scan::default();
        while let Some((line, record)) = records.next()? {
            if let Some(order) = layout.order_of(record) {
                scan.row(order, line);
            }
        }
        Ok(scan.spread)
    }
}

/// The lines of one order, so far or complete.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Group {
    /// The order's id in the file.
    pub(crate) order: Text,
    /// The first and last line of the file with it.
    pub(crate) first_line: u64,
    pub(crate) last_line: u64,
    /// Rows read, bad ones excepted.
    pub(crate) lines: u64,
    pub(crate) bad_lines: u64,
    pub(crate) units: u64,
    /// The sum of the rows' prices; `None` where the catalogue prices any of them.
    pub(crate) amount: Option<Amount>,
    pub(crate) head: Head,
    /// At most one more than an order may have, so that a too long order is refused as such.
    pub(crate) items: Vec<Item>,
}

impl Group {
    fn new(order: Text, line: u64) -> Self {
        Self {
            order,
            first_line: line,
            last_line: line,
            lines: 0,
            bad_lines: 0,
            units: 0,
            amount: Some(Amount::ZERO),
            head: Head::default(),
            items: Vec::new(),
        }
    }

    fn add(&mut self, content: Content) -> Result<(), MoneyError> {
        self.amount = match (self.amount, content.amount) {
            (Some(sum), Some(amount)) => Some(sum.plus(amount)?),
            _ => None,
        };
        self.lines += 1;
        self.units += u64::from(content.units);
        let room = (MAX_ITEMS + 1).saturating_sub(self.items.len());
        self.items.extend(content.items.into_iter().take(room));
        // The first row that tells a time, table or customer tells it for the order.
        let head = content.head;
        self.head.placed_at = self.head.placed_at.or(head.placed_at);
        self.head.table_id = self.head.table_id.take().or(head.table_id);
        self.head.customer_id = self.head.customer_id.take().or(head.customer_id);
        self.head.customer_name = self.head.customer_name.take().or(head.customer_name);
        Ok(())
    }
}

/// Gathers lines into orders.
#[derive(Debug, Default)]
pub(crate) struct Grouper {
    spread: Spread,
    current: Option<Group>,
    held: HashMap<Text, Group>,
    held_rows: usize,
}

/// What one more row led to.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Added {
    /// Orders that are complete now.
    pub(crate) complete: Vec<Group>,
    /// The row's amount takes the order's total beyond what is exact.
    pub(crate) refused: Option<MoneyError>,
}

impl Grouper {
    pub(crate) fn new(spread: Spread) -> Self {
        Self {
            spread,
            ..Self::default()
        }
    }

    /// Adds a row of an order; `None` stands for a row that is bad.
    pub(crate) fn add(&mut self, order: Text, line: u64, content: Option<Content>) -> Result<Added, TooSpread> {
        let ends = self.spread.last_line.get(&hash(order.as_str().as_bytes())).copied();
        let mut added = Added::default();
        if self.current.as_ref().is_some_and(|current| current.order != order) {
            added.complete.extend(self.current.take());
        }
        let group = match ends {
            None => self.current.get_or_insert_with(|| Group::new(order.clone(), line)),
            Some(_) => {
                self.held_rows += 1;
                if self.held_rows > MAX_HELD_ROWS {
                    return Err(TooSpread);
                }
                self.held
                    .entry(order.clone())
                    .or_insert_with(|| Group::new(order.clone(), line))
            }
        };
        group.last_line = line;
        match content {
            None => group.bad_lines += 1,
            Some(content) => {
                if let Err(error) = group.add(content) {
                    group.bad_lines += 1;
                    added.refused = Some(error);
                }
            }
        }
        if ends.is_some_and(|last| line >= last) {
            added.complete.extend(self.release(&order));
        }
        Ok(added)
    }

    fn release(&mut self, order: &Text) -> Option<Group> {
        let group = self.held.remove(order)?;
        let rows = usize::try_from(group.lines + group.bad_lines).unwrap_or(usize::MAX);
        self.held_rows = self.held_rows.saturating_sub(rows);
        Some(group)
    }

    /// The orders still open at the end of the file.
    pub(crate) fn finish(self) -> Vec<Group> {
        let mut rest: Vec<Group> = self.held.into_values().chain(self.current).collect();
        rest.sort_by_key(|group| group.first_line);
        rest
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn content(cents: i64) -> Content {
        Content {
            items: Vec::new(),
            units: 1,
            amount: Some(Amount(cents)),
            head: Head::default(),
        }
    }

    /// Groups rows given by their orders' ids; row `n` costs `n` cents.
    fn group(orders: &[&str]) -> Vec<(String, u64, i64)> {
        let mut scan = Scan::default();
        for (line, order) in (2..).zip(orders) {
            scan.row(order.as_bytes(), line);
        }
        let mut grouper = Grouper::new(scan.spread);
        let mut groups = Vec::new();
        for (line, order) in (2..).zip(orders) {
            let cents = i64::try_from(line).unwrap();
            groups.extend(
                grouper
                    .add(Text::new(*order).unwrap(), line, Some(content(cents)))
                    .unwrap()
                    .complete,
            );
        }
        groups.extend(grouper.finish());
        groups
            .into_iter()
            .map(|g| (g.order.to_string(), g.lines, g.amount.unwrap().0))
            .collect()
    }

    #[test]
    fn given_rows_that_stand_together_then_an_order_ends_where_the_next_begins() {
        assert_eq!(group(&["a", "a", "b"]), [("a".into(), 2, 5), ("b".into(), 1, 4)]);
    }

    #[test]
    fn given_rows_that_stand_apart_then_the_order_is_still_one() {
        assert_eq!(
            group(&["a", "b", "b", "a", "a", "c"]),
            [("b".into(), 2, 7), ("a".into(), 3, 2 + 5 + 6), ("c".into(), 1, 7)]
        );
    }

    #[test]
    fn given_a_bad_row_then_the_others_of_its_order_are_kept() {
        let mut grouper = Grouper::default();
        let a = || Text::new("a").unwrap();
        grouper.add(a(), 2, Some(content(1))).unwrap();
        grouper.add(a(), 3, None).unwrap();
        let added = grouper.add(a(), 4, Some(content(Amount::MAX.0))).unwrap();
        assert_eq!(added.refused, Some(MoneyError::TooLarge));
        let groups = grouper.finish();
        assert_eq!((groups[0].lines, groups[0].bad_lines, groups[0].last_line), (1, 2, 4));
        assert_eq!(groups[0].amount, Some(Amount(1)));
    }

    #[test]
    fn given_too_many_rows_to_hold_then_grouping_gives_up_with_the_remedy() {
        let mut scan = Scan::default();
        for (line, order) in (2..).zip(["a", "b", "a"]) {
            scan.row(order.as_bytes(), if line == 4 { u64::MAX } else { line });
        }
        let mut grouper = Grouper::new(scan.spread);
        let outcome = (2..=u64::MAX).find_map(|line| grouper.add(Text::new("a").unwrap(), line, None).err());
        assert_eq!(outcome, Some(TooSpread));
    }

    proptest! {
        #[test]
        fn every_order_comes_out_once_with_all_its_rows(orders in proptest::collection::vec("[a-e]", 0..60)) {
            let orders: Vec<&str> = orders.iter().map(String::as_str).collect();
            let mut groups = group(&orders);
            groups.sort();
            let mut expected: Vec<(String, u64, i64)> = Vec::new();
            let mut ids = orders.clone();
            ids.sort_unstable();
            ids.dedup();
            for id in ids {
                let rows = (2_i64..).zip(&orders).filter(|(_, order)| **order == id).map(|(line, _)| line);
                let (count, sum) = rows.fold((0, 0), |(count, sum), line| (count + 1, sum + line));
                expected.push((id.to_owned(), count, sum));
            }
            prop_assert_eq!(groups, expected);
        }
    }
}
