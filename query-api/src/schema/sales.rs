//! The daily report as the schema shows it.

use async_graphql::SimpleObject;

use super::int;
use super::money::Money;
use super::scalars::Date;
use crate::reads::daily_sales::DayRow;

/// What an establishment sold on one business day. Rejected and cancelled orders do not count, even
/// when they were called off on a later day.
#[derive(SimpleObject)]
pub(crate) struct DailySales {
    /// The day, on the establishment's calendar.
    date: Date,
    /// Orders that count.
    orders: i32,
    /// The sum of their totals, tax and tip included.
    sales: Money,
    /// Sales by order, rounded half up to the minor unit.
    average_ticket: Money,
    /// Known customers among them, each once. Guests are not counted.
    unique_customers: i32,
}

impl DailySales {
    pub(crate) fn of(day: &DayRow) -> async_graphql::Result<Self> {
        Ok(Self {
            date: day.date.into(),
            orders: int(day.orders)?,
            sales: Money::new(day.sales, &day.currency),
            average_ticket: Money::new(average(day.sales, day.orders), &day.currency),
            unique_customers: int(day.unique_customers)?,
        })
    }
}

/// `sum / count`, rounded half up. Days without orders have no row, so `count` is positive.
fn average(sum: i64, count: i64) -> i64 {
    let count = i128::from(count.max(1));
    let rounded = (2 * i128::from(sum) + count).div_euclid(2 * count);
    i64::try_from(rounded).unwrap_or(sum)
}

#[cfg(test)]
mod tests {
    use super::average;

    #[test]
    fn averages_round_half_up() {
        for (sum, count, expected) in [
            (10, 4, 3),
            (9, 4, 2),
            (11, 4, 3),
            (1, 2, 1),
            (0, 3, 0),
            (100, 3, 33),
            (200, 3, 67),
            (i64::MAX, 1, i64::MAX),
        ] {
            assert_eq!(average(sum, count), expected, "{sum}/{count}");
        }
    }
}
