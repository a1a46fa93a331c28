//! A steady stream of orders and status changes from many clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::client::{Answer, Client, Intent, Journal};
use super::eventually;
use super::topology::Topology;

/// The establishment and product that every tenant of the load has.
pub(crate) const ESTABLISHMENT: &str = "main";
pub(crate) const PRODUCT: &str = "pizza";

/// Tenants with a token each, and what was asked on their behalf.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) names: Vec<String>,
    pub(crate) clients: Vec<Client>,
    pub(crate) journal: Journal,
    /// Distinguishes the keys of one load from another's in the same database.
    label: &'static str,
}

impl Load {
    /// Gives each tenant an establishment and a product.
    pub(crate) async fn prepare(platform: &dyn Topology, label: &'static str, tenants: usize) -> Arc<Self> {
        let names: Vec<String> = (0..tenants).map(|n| format!("{label}-{n}")).collect();
        let mut clients = Vec::new();
        for name in &names {
            let client = platform.client(name);
            open_for_business(&client).await;
            clients.push(client);
        }
        Arc::new(Self {
            names,
            clients,
            journal: Journal::default(),
            label,
        })
    }

    fn create(&self, n: usize) -> Intent {
        let key = format!("{}-order-{n}", self.label);
        let customer = n.is_multiple_of(3).then(|| json!({"id": format!("c-{}", n % 7)}));
        let mut body = json!({
            "establishment_id": ESTABLISHMENT,
            "items": [{"product_id": PRODUCT, "quantity": 1 + n % 4}],
        });
        if let Some(customer) = customer {
            body["customer"] = customer;
        }
        Intent {
            tenant: n % self.clients.len(),
            path: "/v1/orders".into(),
            key,
            body,
        }
    }

    fn change(&self, n: usize, order: &str, status: &str) -> Intent {
        let key = format!("{}-{status}-{n}", self.label);
        let path = format!("/v1/orders/{order}/status");
        Intent {
            tenant: n % self.clients.len(),
            path,
            key,
            body: json!({"status": status}),
        }
    }

    async fn attempt(&self, intent: &Intent) -> Option<Answer> {
        self.clients[intent.tenant].attempt(intent, &self.journal).await
    }

    /// Places order `n` and moves two of three on; one in a hundred keys is sent twice, and one in
    /// a hundred changes carries a stale version, which must be refused. `false` where the server
    /// did not answer.
    pub(crate) async fn one_order(&self, n: usize) -> bool {
        let intent = self.create(n);
        let Some(created) = self.attempt(&intent).await else {
            return false;
        };
        assert_eq!(created.status, 201, "{}", created.body);
        let order = created.body["id"].as_str().expect("an id").to_owned();
        if n.is_multiple_of(100) {
            self.attempt(&intent).await;
        }
        if n % 100 == 1 {
            self.stale(intent.tenant, &order).await;
        }
        if !n.is_multiple_of(3) {
            self.attempt(&self.change(n, &order, "accepted")).await;
        }
        if n % 3 > 1 {
            self.attempt(&self.change(n, &order, "cancelled")).await;
        }
        true
    }

    async fn stale(&self, tenant: usize, order: &str) {
        let request = self.clients[tenant]
            .request("POST", &format!("/v1/orders/{order}/status"))
            .header("if-match", "\"7\"")
            .json(&json!({"status": "accepted"}));
        if let Ok(answer) = Client::try_send(request).await
            && !answer.is_unknown()
        {
            assert_eq!(answer.status, 412, "{}", answer.body);
        }
    }

    /// `orders` orders by `workers` concurrent clients.
    pub(crate) async fn run(self: &Arc<Self>, orders: usize, workers: usize) {
        let next = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..workers)
            .map(|_| {
                let (load, next) = (Arc::clone(self), Arc::clone(&next));
                tokio::spawn(async move {
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        if n >= orders {
                            return;
                        }
                        load.one_order(n).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("a worker");
        }
    }

    /// Orders without end until stopped; survives an absent server.
    pub(crate) fn start(self: &Arc<Self>, workers: usize) -> Running {
        self.start_paced(workers, Duration::ZERO)
    }

    /// The same with one order per worker and `pace`, at most: a load that leaves room for what
    /// happens beside it.
    pub(crate) fn start_paced(self: &Arc<Self>, workers: usize, pace: Duration) -> Running {
        let stop = Arc::new(AtomicBool::new(false));
        let next = Arc::new(AtomicUsize::new(0));
        let tasks = (0..workers)
            .map(|_| {
                let (load, stop, next) = (Arc::clone(self), Arc::clone(&stop), Arc::clone(&next));
                tokio::spawn(async move {
                    let mut ticks = tokio::time::interval(pace.max(Duration::from_micros(1)));
                    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                    // Bounded, as every load here is.
                    for _ in 0..200_000 {
                        if !pace.is_zero() {
                            ticks.tick().await;
                        }
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        let answered = load.one_order(next.fetch_add(1, Ordering::Relaxed)).await;
                        if !answered {
                            // The server is away: leave it the processor.
                            tokio::time::timeout(Duration::from_millis(20), std::future::pending::<()>())
                                .await
                                .ok();
                        }
                    }
                })
            })
            .collect();
        Running { stop, tasks }
    }

    /// Sends every request of unknown outcome again until all are answered (G2).
    pub(crate) async fn settle(&self) {
        eventually(Duration::from_secs(60), || async {
            for intent in self.journal.unknown() {
                self.attempt(&intent).await;
            }
            let left = self.journal.unknown().len();
            if left == 0 {
                Ok(())
            } else {
                Err(format!("{left} requests are still unanswered"))
            }
        })
        .await;
    }

    /// Sends a sample of everything answered once more; the journal insists on the same answers (G5).
    pub(crate) async fn repeat(&self, every: usize) {
        for intent in self.journal.all().iter().step_by(every) {
            self.attempt(intent).await;
        }
    }

    /// How many orders were acknowledged.
    pub(crate) fn acknowledged(&self) -> usize {
        self.journal.settled_as(201).len()
    }
}

/// A load under way.
#[derive(Debug)]
pub(crate) struct Running {
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Running {
    /// Ends the load whatever its workers found: where a bug is planted, they stumble over it too.
    pub(crate) async fn abandon(self) {
        for task in self.tasks {
            task.abort();
            let _ = task.await;
        }
    }

    pub(crate) async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("a worker");
        }
    }
}

pub(crate) fn establishment() -> Value {
    json!({"name": "Main", "time_zone": "Europe/Rome", "currency": "EUR",
           "tax": {"mode": "inclusive", "rate_ppm": 100_000}})
}

pub(crate) fn product() -> Value {
    json!({"name": "Pizza", "price": {"amount": 950, "currency": "EUR"}})
}

async fn open_for_business(client: &Client) {
    let answer = client
        .put(&format!("/v1/establishments/{ESTABLISHMENT}"), &establishment())
        .await;
    assert!(matches!(answer.status, 200 | 201), "{}", answer.body);
    let answer = client.put(&format!("/v1/products/{PRODUCT}"), &product()).await;
    assert!(matches!(answer.status, 200 | 201), "{}", answer.body);
}
