//! The shutdown switch and the tasks that obey it.

use std::time::Duration;

use service::shutdown::{Shutdown, Stopped};

const DEADLINE: Duration = Duration::from_secs(5);

fn clean() -> Stopped {
    Stopped {
        left_running: vec![],
        panicked: vec![],
    }
}

#[tokio::test]
async fn given_tasks_that_obey_when_triggered_then_the_stop_is_clean() {
    let shutdown = Shutdown::new();
    for name in ["projector", "committer"] {
        let watching = shutdown.clone();
        shutdown.spawn(name, async move { watching.cancelled().await });
    }
    shutdown.spawn("short", async {});
    shutdown.trigger();
    assert_eq!(shutdown.wait(DEADLINE).await, clean());
}

#[tokio::test]
async fn given_a_task_that_does_not_obey_when_the_deadline_passes_then_it_is_named_and_aborted() {
    let shutdown = Shutdown::new();
    let (alive, mut aborted) = tokio::sync::oneshot::channel::<()>();
    shutdown.spawn("stuck", async move {
        let _alive = alive;
        std::future::pending::<()>().await;
    });
    shutdown.trigger();
    assert_eq!(shutdown.wait(Duration::from_millis(20)).await.left_running, ["stuck"]);
    assert!((&mut aborted).await.is_err(), "the task's future was dropped");
}

#[tokio::test]
async fn given_a_task_that_panics_when_waited_for_then_the_process_is_told_to_stop() {
    let shutdown = Shutdown::new();
    let watching = shutdown.clone();
    shutdown.spawn("healthy", async move { watching.cancelled().await });
    shutdown.spawn("broken", async { assert_eq!(1, 2, "broken on purpose") });
    let stopped = shutdown.wait(DEADLINE).await;
    assert!(shutdown.is_triggered() && !stopped.is_clean());
    assert_eq!(stopped.panicked, ["broken"]);
}

#[tokio::test]
async fn given_a_stuck_task_when_forced_then_the_wait_ends_at_once() {
    let shutdown = Shutdown::new();
    shutdown.spawn("stuck", std::future::pending());
    shutdown.force();
    assert_eq!(shutdown.wait(Duration::from_secs(3_600)).await.left_running, ["stuck"]);
}

#[tokio::test]
async fn given_no_trigger_when_all_tasks_end_by_themselves_then_the_wait_ends() {
    let shutdown = Shutdown::new();
    shutdown.spawn("one", async {});
    assert_eq!(shutdown.wait(DEADLINE).await, clean());
    assert!(!shutdown.is_triggered());
}
