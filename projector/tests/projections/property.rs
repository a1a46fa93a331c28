//! Any commands, delivered any way: the rows are the fold of the log.

use domain::order::{OrderStatus, Reason};
use event_store::RecordedEvent;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sqlx::PgPool;

use crate::support::{expected, project, read_store, reset, rows, samples};

#[derive(Debug, Clone)]
enum Action {
    Place {
        tenant: usize,
        sample: samples::Sample,
    },
    Change {
        order: prop::sample::Index,
        to: OrderStatus,
        reason: Option<Reason>,
    },
    DefineProduct {
        tenant: usize,
        price: i64,
    },
    ChangeAvailability {
        tenant: usize,
        available: bool,
    },
    DefineEstablishment {
        tenant: usize,
        name: String,
    },
}

/// How the events are delivered.
#[derive(Debug, Clone)]
struct Delivery {
    size: usize,
    /// Events repeated from before the batch.
    repeated: usize,
    lost: bool,
}

const TENANTS: [&str; 3] = ["roma", "milano", "napoli"];

fn sample() -> impl Strategy<Value = samples::Sample> {
    let days = ["2026-03-01T12:00:00Z", "2026-03-02T03:59:59Z", "2026-03-02T12:00:00Z"];
    (
        prop::sample::select(vec!["trattoria", "bar"]),
        prop::option::of(prop::sample::select(vec!["giulia", "marco"])),
        prop::sample::select(days.to_vec()),
        prop::collection::vec((1_u32..20, 0_i64..10_000), 1..4),
    )
        .prop_map(|(establishment, customer, placed_at, items)| samples::Sample {
            establishment,
            customer,
            placed_at,
            items,
        })
}

fn action() -> impl Strategy<Value = Action> {
    let tenant = 0..TENANTS.len();
    prop_oneof![
        4 => (tenant.clone(), sample()).prop_map(|(tenant, sample)| Action::Place { tenant, sample }),
        8 => (any::<prop::sample::Index>(), prop::sample::select(OrderStatus::ALL),
              prop::option::of(prop::sample::select(Reason::ALL)))
            .prop_map(|(order, to, reason)| Action::Change { order, to, reason }),
        1 => (tenant.clone(), 0_i64..5_000).prop_map(|(tenant, price)| Action::DefineProduct { tenant, price }),
        1 => (tenant.clone(), any::<bool>())
            .prop_map(|(tenant, available)| Action::ChangeAvailability { tenant, available }),
        1 => (tenant, "[a-zA-Zè ]{0,8}x").prop_map(|(tenant, name)| Action::DefineEstablishment { tenant, name }),
    ]
}

fn delivery() -> impl Strategy<Value = Delivery> {
    (1_usize..12, 0_usize..8, prop::bool::weighted(0.2)).prop_map(|(size, repeated, lost)| Delivery {
        size,
        repeated,
        lost,
    })
}

fn world_of(actions: &[Action]) -> samples::World {
    let mut world = samples::World::new();
    let mut orders = vec![];
    for action in actions {
        match action {
            Action::Place { tenant, sample } => orders.push(world.place(&samples::tenant(TENANTS[*tenant]), sample)),
            Action::Change { order, to, reason } => {
                if !orders.is_empty() {
                    // Refused as often as not; then nothing is in the log.
                    world.change(order.get(&orders), *to, *reason);
                }
            }
            Action::DefineProduct { tenant, price } => {
                world.define_product(&samples::tenant(TENANTS[*tenant]), "margherita", *price);
            }
            Action::ChangeAvailability { tenant, available } => {
                world.change_availability(&samples::tenant(TENANTS[*tenant]), "margherita", *available);
            }
            Action::DefineEstablishment { tenant, name } => {
                world.define_establishment(&samples::tenant(TENANTS[*tenant]), "trattoria", name);
            }
        }
    }
    world
}

fn batches(events: &[RecordedEvent], deliveries: &[Delivery]) -> Vec<Vec<RecordedEvent>> {
    let mut batches = vec![];
    let mut at = 0;
    for delivery in deliveries.iter().cycle() {
        if at >= events.len() {
            break;
        }
        let end = (at + delivery.size).min(events.len());
        if !delivery.lost {
            batches.push(events[at.saturating_sub(delivery.repeated)..end].to_vec());
        }
        at = end;
    }
    batches
}

async fn holds(pool: &PgPool, actions: &[Action], deliveries: &[Delivery]) -> Result<(), TestCaseError> {
    reset(pool).await;
    let world = world_of(actions);
    let events = world.events();
    project(pool, &world.log, batches(&events, deliveries)).await;
    let found = rows::all(pool).await;
    for (table, expected) in expected::tables(&events) {
        prop_assert_eq!(&found[table], &expected, "{}", table);
    }
    Ok(())
}

#[test]
fn any_commands_in_any_batches_with_duplicates_and_losses_project_to_the_fold_of_the_log() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let pool = runtime.block_on(read_store());
    let config = Config {
        cases: 32,
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    };
    let cases = (
        prop::collection::vec(action(), 1..80),
        prop::collection::vec(delivery(), 1..20),
    );
    let result = TestRunner::new(config).run(&cases, |(actions, deliveries)| {
        // A world without events projects nothing, not even its tables' absence.
        prop_assume!(actions.iter().any(|action| matches!(action, Action::Place { .. })));
        runtime.block_on(holds(&pool, &actions, &deliveries))
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}
