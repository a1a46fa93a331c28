//! What is published about the API is what it does.

use std::path::Path;

use crate::support::Platform;

#[test]
fn the_committed_openapi_document_is_the_generated_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let generated = command_api::openapi().to_pretty_json().unwrap() + "\n";
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == generated,
        "openapi.json differs from the code: run the tests with UPDATE_GENERATED=1"
    );
}

#[tokio::test]
async fn given_no_token_then_the_documents_are_served_all_the_same() {
    let api = Platform::start().await.api().await;
    let client = api.client("acme").anonymous();
    let document = client.get("/openapi.json").await;
    assert_eq!(document.status, 200);
    assert_eq!(document.json()["openapi"], "3.1.0");
    let page = client.get("/docs/").await;
    assert!(page.text.contains("swagger-ui"), "{}", page.text);
    assert!(!page.text.contains("https://"), "nothing is loaded from elsewhere");
    assert_eq!(client.get("/docs/swagger-ui-bundle.js").await.status, 200);
    assert!(client.get("/docs/errors").await.text.contains("illegal_transition"));
}
