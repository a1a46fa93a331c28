//! Every read model that there is. A new one is one line here.

use crate::model::Registered;
use crate::projections::{DailySales, Establishments, OrderTimeline, Orders, Products};

/// The read models, in the order in which a batch is written to them.
pub fn all() -> Vec<Registered> {
    vec![
        Registered::new(Orders),
        Registered::new(OrderTimeline),
        Registered::new(DailySales),
        Registered::new(Products),
        Registered::new(Establishments),
    ]
}
