//! Where settings come from, which source wins, and what is refused.

use std::path::PathBuf;

use service::settings::{Loader, LogFormat, Settings, SettingsError};

fn file(content: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("comanda.toml");
    std::fs::write(&path, content).unwrap();
    (dir, path)
}

fn load(content: &str, variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    let (_dir, path) = file(content);
    let variables = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Loader::new().file(Some(&path)).environment(variables).load()
}

fn refusal(content: &str, variables: &[(&str, &str)]) -> String {
    load(content, variables).expect_err("must be refused").to_string()
}

#[test]
fn given_every_source_when_loaded_then_flags_win_over_environment_over_file_over_defaults() {
    let (_dir, path) = file("[http]\nport = 1\nmax_in_flight = 11\nrequest_timeout_ms = 111\n");
    let variables = [
        ("COMANDA_HTTP__PORT", "2"),
        ("COMANDA_HTTP__MAX_IN_FLIGHT", "22"),
        ("COMANDA_LOG__FORMAT", "json"),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let settings = Loader::new()
        .file(Some(&path))
        .environment(variables)
        .flag("http.port", 3_u16)
        .load()
        .unwrap();
    assert_eq!(settings.http.port, 3);
    assert_eq!(settings.http.max_in_flight, 22);
    assert_eq!(settings.http.request_timeout_ms, 111);
    assert_eq!(settings.http.max_body_bytes, 1024 * 1024);
    assert_eq!(settings.log.format, LogFormat::Json);
}

#[test]
fn given_a_list_in_the_environment_when_loaded_then_it_is_read_as_in_the_file() {
    let shards = r#"[{id=0, url="postgres://a@h/0"}, {id=1, url="postgres://a@h/1"}]"#;
    let settings = load("", &[("COMANDA_EVENT_STORE__SHARDS", shards)]).unwrap();
    assert_eq!(settings.event_store.shards[1].id, 1);
    assert_eq!(settings.event_store.shards[1].url.expose(), "postgres://a@h/1");
    let stores = r#"[{name="main", url="postgres://a@h/r", replicas=[{name="one", url="postgres://a@g/r"}]}]"#;
    let settings = load("", &[("COMANDA_READ_STORES", stores)]).unwrap();
    assert_eq!(settings.read_stores[0].replicas[0].name, "one");
}

#[test]
fn given_unknown_keys_when_loaded_then_refused_with_key_and_source() {
    let in_file = refusal("[http]\nprot = 1\n", &[]);
    assert!(
        in_file.contains("prot") && in_file.contains("comanda.toml"),
        "{in_file}"
    );
    assert!(refusal("[htpt]\n", &[]).contains("htpt"));
    assert!(refusal("[auth]\nkeys = [{algorithm = \"HS256\", sekret = \"\"}]\n", &[]).contains("sekret"));
    let in_environment = refusal("", &[("COMANDA_HTTP__PROT", "1")]);
    assert!(in_environment.contains("COMANDA_HTTP__PROT"), "{in_environment}");
    let one_underscore = refusal("", &[("COMANDA_HTTP_PORT", "1")]);
    assert!(one_underscore.contains("COMANDA_HTTP_PORT") && one_underscore.contains("two underscores"));
}

#[test]
fn given_variables_of_other_programs_when_loaded_then_passed_over() {
    let others = [
        ("COMANDA_TEST_POSTGRES", "x"),
        ("COMANDA_DATA", "y"),
        ("HTTP__PORT", "1"),
        ("PATH", "/bin"),
    ];
    assert_eq!(load("", &others).unwrap(), Settings::default());
}

#[test]
fn given_values_that_cannot_work_when_loaded_then_refused_by_name() {
    for (content, key) in [
        ("[http]\nmax_in_flight = 0\n", "http.max_in_flight"),
        ("[http]\nmax_header_bytes = 100\n", "http.max_header_bytes"),
        ("[http]\ndrain_notice_ms = 20000\n", "http.drain_notice_ms"),
        ("[auth]\nleeway_seconds = 301\n", "auth.leeway_seconds"),
        ("[auth]\njwks_url = \"http://id.test/jwks\"\n", "auth.jwks_url"),
        ("[query]\npage_size = 101\n", "query.page_size"),
        ("[event_store]\nshards = [{id = 0}]\n", "shards[id=0]"),
        (
            "[event_store]\nshards = [{id = 0, url = \"a\"}, {id = 0, url = \"b\"}]\n",
            "shards[id=0]",
        ),
        ("[http]\nport = 70000\n", "http.port"),
        ("[http]\nport = \"x\"\n", "http.port"),
        ("[log]\nformat = \"xml\"\n", "log.format"),
        ("[auth]\nkeys = [{algorithm = \"none\"}]\n", "auth.keys"),
        ("[http\n", "comanda.toml"),
    ] {
        let refusal = refusal(content, &[]);
        assert!(refusal.contains(key), "{key}: {refusal}");
    }
    let nowhere = Loader::new().file(Some(&PathBuf::from("/nowhere/comanda.toml"))).load();
    assert!(matches!(nowhere, Err(SettingsError::NoFile(_))));
}

#[test]
fn given_a_url_in_a_file_when_loaded_then_read_from_there_but_not_from_both() {
    let (_dir, secret) = file("postgres://comanda:s3cret@db/control\n");
    let content = format!("[control]\nurl_file = {secret:?}\n");
    let settings = load(&content, &[]).unwrap();
    assert_eq!(settings.control.url.expose(), "postgres://comanda:s3cret@db/control");
    assert!(refusal(&format!("{content}url = \"postgres://x\"\n"), &[]).contains("not both"));
    assert!(refusal("[control]\nurl_file = \"/nowhere\"\n", &[]).contains("/nowhere"));
}

#[test]
fn given_secrets_when_settings_are_shown_in_any_way_then_none_appears() {
    let content = r#"
        [control]
        url = "postgres://comanda:s3cret@db/control?password=s3cret"
        [[read_stores]]
        url = "host=db password=s3cret"
        [[auth.keys]]
        algorithm = "HS256"
        secret = "s3cret s3cret s3cret s3cret s3cret"
    "#;
    let settings = load(content, &[]).unwrap();
    let json = serde_json::to_string(&settings).unwrap();
    for shown in [
        settings.to_string(),
        format!("{settings:?}"),
        json,
        settings.control.url.to_string(),
    ] {
        assert!(!shown.contains("s3cret"), "{shown}");
    }
    assert!(
        settings
            .to_string()
            .contains("control.url = \"postgres://comanda:[redacted]@db/control\"")
    );
    assert!(settings.to_string().contains("http.port = 8080"));
}

#[test]
fn given_a_url_with_a_password_where_none_belongs_when_refused_then_it_is_not_repeated() {
    for url in ["https://user:s3cret@id.test/jwks", "https://s3cret@id.test/jwks"] {
        let refusal = refusal(&format!("[auth]\njwks_url = {url:?}\n"), &[]);
        assert!(
            refusal.contains("auth.jwks_url") && refusal.contains("must not hold") && !refusal.contains("s3cret"),
            "{refusal}"
        );
    }
}

#[test]
fn given_a_secret_of_the_wrong_type_when_refused_then_its_value_is_not_repeated() {
    let refusal = refusal("", &[("COMANDA_CONTROL__URL", "8675309")]);
    assert!(
        refusal.contains("COMANDA_CONTROL__URL") && !refusal.contains("8675309"),
        "{refusal}"
    );
}
