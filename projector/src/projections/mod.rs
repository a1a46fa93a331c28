//! The read models, one file each.

mod daily_sales;
mod establishments;
mod order_timeline;
mod orders;
mod products;

pub use daily_sales::DailySales;
pub use establishments::Establishments;
pub use order_timeline::OrderTimeline;
pub use orders::Orders;
pub use products::Products;

use domain::{Sequence, StreamId, TenantId};
use uuid::Uuid;

use crate::projection::order_id;

/// The key columns of some order streams, for `UNNEST`; the index is the stream's in `streams`.
struct OrderKeys {
    indexes: Vec<i64>,
    tenants: Vec<String>,
    orders: Vec<Uuid>,
}

impl OrderKeys {
    fn of(streams: &[&StreamId]) -> Self {
        let mut keys = Self {
            indexes: vec![],
            tenants: vec![],
            orders: vec![],
        };
        for (index, stream) in (0..).zip(streams) {
            if let Some(order) = order_id(stream) {
                keys.indexes.push(index);
                keys.tenants.push(stream.tenant().to_string());
                keys.orders.push(order.0);
            }
        }
        keys
    }
}

/// The key columns of streams whose rows are keyed by tenant and textual id.
fn text_keys(streams: &[&StreamId]) -> (Vec<String>, Vec<String>) {
    streams
        .iter()
        .map(|stream| (stream.tenant().to_string(), stream.id().to_owned()))
        .unzip()
}

/// A stored text read back as the type it was written from.
fn stored<T: std::str::FromStr>(column: &'static str, text: &str) -> Result<T, sqlx::Error> {
    text.parse().map_err(|_| sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source: format!("{text:?} was not written by a projector").into(),
    })
}

fn index_of(ordinal: i64) -> Result<usize, sqlx::Error> {
    usize::try_from(ordinal).map_err(|error| sqlx::Error::Decode(error.into()))
}

fn tenant_text(tenant: &TenantId) -> String {
    tenant.as_str().to_owned()
}

const fn version_of(sequence: i64) -> Sequence {
    Sequence(sequence)
}
