//! Who PostgreSQL runs as, and where its data goes when it cannot follow us.
//! Under root these cover the user of its own; otherwise, that there is none.
#![expect(clippy::unwrap_used, reason = "a test helper that fails has failed the test")]
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use local_postgres::testing::ScratchFolder;
use local_postgres::{Config, DataFolder, Error, Server, State, locate, located_before};
use nix::unistd::{User, geteuid};

/// A folder that only we can enter, as `/root` is.
fn private_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    folder
}

fn user_of(server: &Server) -> u32 {
    match *server.state().borrow() {
        State::Serving { pid } => Path::new(&format!("/proc/{pid}")).metadata().unwrap().uid(),
        ref other => panic!("not serving: {other:?}"),
    }
}

#[test]
fn a_default_folder_out_of_reach_is_replaced_and_it_is_said() {
    let private = private_folder();
    let wanted = private.path().canonicalize().unwrap().join(".comanda");
    let asked = DataFolder::Default(wanted.clone());
    let located = locate(&asked).unwrap();
    if geteuid().is_root() {
        assert!(located.data.starts_with("/var/lib/comanda"), "{located:?}");
        assert_eq!(locate(&asked).unwrap(), located);
        let notice = located.notice.unwrap();
        assert!(
            notice.contains(wanted.to_str().unwrap()) && notice.contains(located.data.to_str().unwrap()),
            "{notice}"
        );
    } else {
        assert_eq!((located.data, located.notice), (wanted, None));
    }
    assert_eq!(located_before(&asked), None);
}

#[tokio::test]
async fn an_explicit_folder_out_of_reach_is_refused_with_the_remedy() {
    let private = private_folder();
    let wanted = private.path().join("data");
    let asked = locate(&DataFolder::Explicit(wanted.clone()));
    if !geteuid().is_root() {
        assert_eq!(asked.unwrap().notice, None);
        return;
    }
    let refused = asked.unwrap_err();
    assert!(matches!(refused, Error::OutOfReach { .. }), "{refused:?}");
    assert!(refused.remedy().contains("/var/lib/comanda/"), "{}", refused.remedy());
    let refused = Server::start(Config::new(&wanted)).await.unwrap_err();
    assert!(matches!(refused, Error::OutOfReach { .. }), "{refused:?}");
    assert!(!wanted.exists());
}

#[tokio::test]
async fn a_folder_within_reach_is_used_and_found_again() {
    let scratch = ScratchFolder::new();
    for asked in [DataFolder::Default, DataFolder::Explicit].map(|kind| kind(scratch.path().join("new/data"))) {
        let located = locate(&asked).unwrap();
        assert_eq!((located.data, located.notice), (scratch.path().join("new/data"), None));
        assert_eq!(located_before(&asked), None);
    }
    let server = Server::start(Config::new(scratch.path().join("new/data")))
        .await
        .unwrap();
    server.stop().await.unwrap();
    let asked = DataFolder::Default(scratch.path().join("new/data"));
    assert_eq!(located_before(&asked), Some(scratch.path().join("new/data")));
}

#[tokio::test]
async fn postgres_never_runs_as_root() {
    let scratch = ScratchFolder::new();
    let server = Server::start(Config::new(scratch.path())).await.unwrap();
    let expected = match geteuid() {
        us if us.is_root() => User::from_name("comanda").unwrap().unwrap().uid,
        us => us,
    };
    assert_eq!(user_of(&server), expected.as_raw());
    server.stop().await.unwrap();
}

#[tokio::test]
async fn root_continues_data_as_the_user_who_began_it() {
    if !geteuid().is_root() {
        return;
    }
    let scratch = ScratchFolder::new();
    Server::start(Config::new(scratch.path()))
        .await
        .unwrap()
        .stop()
        .await
        .unwrap();
    let nobody = User::from_name("nobody").unwrap().unwrap();
    give(&scratch.path().join("postgres/cluster"), nobody.uid.as_raw());
    let server = Server::start(Config::new(scratch.path())).await.unwrap();
    assert_eq!(user_of(&server), nobody.uid.as_raw());
    server.stop().await.unwrap();
}

fn give(path: &Path, uid: u32) {
    chown(path, Some(uid), None).unwrap();
    if path.is_dir() {
        std::fs::read_dir(path)
            .unwrap()
            .for_each(|entry| give(&entry.unwrap().path(), uid));
    }
}
