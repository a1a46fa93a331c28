//! Rebuilds as metrics. They run in a command that nobody scrapes, so projectors show what it wrote
//! down.

use sqlx::PgConnection;

/// Sets the gauges of every rebuild that is not over.
pub(crate) async fn expose(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    type Row = (String, i32, i64, i64, Option<f64>, Option<f64>);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT read_model, generation, events_done, events_total, events_per_second, remaining_ms
           FROM meta.rebuilds
          WHERE state IN ('filling', 'verifying') OR updated_at > now() - interval '1 minute'",
    )
    .fetch_all(connection)
    .await?;
    for (read_model, generation, done, total, rate, remaining_ms) in rows {
        let labels = [("read_model", read_model), ("generation", generation.to_string())];
        metrics::gauge!("projector_rebuild_events_done", &labels).set(done as f64);
        metrics::gauge!("projector_rebuild_events", &labels).set(total as f64);
        metrics::gauge!("projector_rebuild_events_per_second", &labels).set(rate.unwrap_or(0.0));
        // Not a number where nothing can be said.
        metrics::gauge!("projector_rebuild_remaining_ms", &labels).set(remaining_ms.unwrap_or(f64::NAN));
    }
    Ok(())
}
