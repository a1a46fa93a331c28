//! GraphQL over HTTP: media types, methods, parameters, status codes. The cases are those of the
//! specification's audit suite and more.

use super::support::{Answer, World, request};
use http::Method;
use serde_json::{Value, json};
use service::Scope;

const JSON: &str = "application/json";
const GRAPHQL: &str = "application/graphql-response+json";

struct Http {
    world: World,
    bearer: String,
}

impl Http {
    async fn new() -> Self {
        let world = World::new().await;
        let bearer = format!("Bearer {}", world.token("dev"));
        Self { world, bearer }
    }

    async fn post(&self, accept: &str, body: Value) -> Answer {
        self.post_raw(&[("content-type", JSON), ("accept", accept)], body.to_string())
            .await
    }

    async fn post_raw(&self, headers: &[(&str, &str)], body: impl Into<axum::body::Body>) -> Answer {
        let mut all = vec![("authorization", self.bearer.as_str())];
        all.extend(headers);
        self.world.send(request(Method::POST, "/graphql", &all, body)).await
    }

    async fn get(&self, accept: &str, query: &str) -> Answer {
        let headers = [("authorization", self.bearer.as_str()), ("accept", accept)];
        self.world
            .send(request(Method::GET, &format!("/graphql?{query}"), &headers, ""))
            .await
    }
}

fn kind(answer: &Answer) -> &str {
    answer.header("content-type")
}

#[tokio::test]
async fn given_accept_then_the_answer_has_its_media_type_in_utf8() {
    let http = Http::new().await;
    let query = json!({ "query": "{ __typename }" });
    for (accept, expected) in [
        (GRAPHQL, "application/graphql-response+json; charset=utf-8"),
        (JSON, "application/json; charset=utf-8"),
        ("*/*", "application/json; charset=utf-8"),
        ("application/*", "application/json; charset=utf-8"),
        ("application/json; charset=utf-8", "application/json; charset=utf-8"),
        (
            "application/graphql-response+json, application/json;q=0.9",
            "application/graphql-response+json; charset=utf-8",
        ),
        (
            "application/graphql-response+json;q=0.1, application/json",
            "application/json; charset=utf-8",
        ),
    ] {
        let answer = http.post(accept, query.clone()).await;
        assert_eq!((answer.status.as_u16(), kind(&answer)), (200, expected), "{accept}");
        assert_eq!(answer.json()["data"]["__typename"], "Query");
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    let none = http.post_raw(&[("content-type", JSON)], query.to_string()).await;
    assert_eq!(
        (none.status.as_u16(), kind(&none)),
        (200, "application/json; charset=utf-8")
    );
    for accept in [
        "text/plain",
        "application/json; charset=latin1",
        "application/xml",
        "application/json;q=0",
        "text/html",
    ] {
        let answer = http.post(accept, query.clone()).await;
        assert_eq!(
            (answer.status.as_u16(), kind(&answer)),
            (406, "application/problem+json"),
            "{accept}"
        );
    }
}

#[tokio::test]
async fn given_content_types_then_only_json_in_utf8_is_taken() {
    let http = Http::new().await;
    let body = json!({ "query": "{ __type(name: \"Run🏃Swim🏊\") { name } }" }).to_string();
    for good in [
        "application/json",
        "application/json; charset=utf-8",
        "application/json;charset=\"utf-8\"",
    ] {
        assert_eq!(
            http.post_raw(&[("content-type", good)], body.clone()).await.status,
            200,
            "{good}"
        );
    }
    for bad in [
        "text/plain;charset=UTF-8",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/graphql",
        "application/json; charset=utf-16",
        "application/graphql-response+json",
        "",
    ] {
        let answer = http.post_raw(&[("content-type", bad)], body.clone()).await;
        assert_eq!(
            (answer.status.as_u16(), kind(&answer)),
            (415, "application/problem+json"),
            "{bad}"
        );
    }
    assert_eq!(http.post_raw(&[], body.clone()).await.status, 415, "none at all");
    assert_eq!(
        http.post_raw(&[("content-type", JSON), ("content-encoding", "gzip")], body)
            .await
            .status,
        415
    );
}

#[tokio::test]
async fn given_bodies_that_are_no_request_then_400_and_no_data_in_either_media_type() {
    let http = Http::new().await;
    let bodies = [
        "",
        "{ \"not a JSON",
        "null",
        "\"{ __typename }\"",
        "42",
        "[]",
        "[{\"query\": \"{ __typename }\"}]",
        "{}",
        "{\"notquery\": \"{ __typename }\"}",
        "{\"query\": {\"obj\": \"ect\"}}",
        "{\"query\": 0}",
        "{\"query\": false}",
        "{\"query\": [\"array\"]}",
        "{\"query\": null}",
    ];
    for accept in [JSON, GRAPHQL] {
        for body in bodies {
            let answer = http.post_raw(&[("content-type", JSON), ("accept", accept)], body).await;
            assert_eq!(answer.status, 400, "{body}");
            assert!(kind(&answer).starts_with(accept), "{body}");
            assert!(answer.json().get("data").is_none(), "{body}");
            let expected = if body.starts_with("[") {
                "BATCH_NOT_SUPPORTED"
            } else {
                "BAD_REQUEST"
            };
            assert_eq!(answer.code(), expected, "{body}");
        }
        for parameter in ["operationName", "variables", "extensions"] {
            for value in [
                json!("string"),
                json!(0),
                json!(false),
                json!(["array"]),
                json!({ "obj": "ect" }),
            ] {
                let fits = matches!(
                    (parameter, &value),
                    ("operationName", Value::String(_)) | ("variables" | "extensions", Value::Object(_))
                );
                let answer = http
                    .post(accept, json!({ "query": "{ __typename }", parameter: value }))
                    .await;
                if !fits {
                    assert_eq!(
                        (answer.status.as_u16(), answer.code().as_str()),
                        (400, "BAD_REQUEST"),
                        "{parameter}: {value}"
                    );
                }
            }
            let answer = http
                .post(accept, json!({ "query": "{ __typename }", parameter: null }))
                .await;
            assert_eq!(answer.data()["__typename"], "Query", "{parameter}: null");
        }
    }
    let invalid = [b"{\"query\": \"".as_slice(), &[0xff, 0xfe], b"\"}"].concat();
    assert_eq!(http.post_raw(&[("content-type", JSON)], invalid).await.status, 400);
    let deep = format!(
        "{{\"query\": \"{{ __typename }}\", \"variables\": {{\"a\": {}{} }}}}",
        "[".repeat(5_000),
        "]".repeat(5_000)
    );
    assert_eq!(http.post_raw(&[("content-type", JSON)], deep).await.status, 400);
    let huge = json!({ "query": "{ __typename }", "variables": { "a": "x".repeat(10_000_000) } }).to_string();
    let answer = http.post_raw(&[("content-type", JSON)], huge).await;
    assert_eq!(
        (answer.status.as_u16(), kind(&answer)),
        (413, "application/problem+json")
    );
}

#[tokio::test]
async fn given_good_parameters_then_they_are_used() {
    let http = Http::new().await;
    for accept in [JSON, GRAPHQL] {
        let named = json!({ "query": "query A { __typename } query B { b: __typename }", "operationName": "B" });
        assert_eq!(http.post(accept, named).await.data(), json!({ "b": "Query" }));
        let variables = json!({
            "query": "query Type($name: String!) { __type(name: $name) { name } }",
            "variables": { "name": "Money" }, "extensions": { "some": "value" }, "unknown": 1,
        });
        assert_eq!(
            http.post(accept, variables).await.data(),
            json!({ "__type": { "name": "Money" } })
        );
    }
}

#[tokio::test]
async fn given_documents_that_cannot_run_then_200_as_json_and_400_as_graphql_response() {
    let http = Http::new().await;
    for (body, code) in [
        (json!({ "query": "{" }), "GRAPHQL_PARSE_FAILED"),
        (json!({ "query": "" }), "GRAPHQL_PARSE_FAILED"),
        (
            json!({ "query": "{ 8f31403dfe404bccbb0e835f2629c6a7 }" }),
            "GRAPHQL_PARSE_FAILED",
        ),
        (json!({ "query": "{ nothingLikeThis }" }), "GRAPHQL_VALIDATION_FAILED"),
        (json!({ "query": "{ order(id: 1) }" }), "GRAPHQL_VALIDATION_FAILED"),
        (
            json!({ "query": "query CoerceFailure($id: ID!){ __typename }", "variables": { "id": null } }),
            "GRAPHQL_VALIDATION_FAILED",
        ),
        (
            json!({ "query": "query($id: ID!){ order(id: $id) { id } }" }),
            "GRAPHQL_VALIDATION_FAILED",
        ),
        (
            json!({ "query": "query($n: Int){ orders(establishmentId: \"m\", first: $n) { nodes { id } } }", "variables": { "n": "x" } }),
            "GRAPHQL_VALIDATION_FAILED",
        ),
        (
            json!({ "query": "query A { __typename } query B { __typename }" }),
            "OPERATION_RESOLUTION_FAILURE",
        ),
        (
            json!({ "query": "query A { __typename }", "operationName": "B" }),
            "OPERATION_RESOLUTION_FAILURE",
        ),
        (
            json!({ "query": "{ __typename }", "operationName": "B" }),
            "OPERATION_RESOLUTION_FAILURE",
        ),
        (
            json!({ "query": "mutation { __typename }" }),
            "GRAPHQL_VALIDATION_FAILED",
        ),
        (
            json!({ "query": "subscription { __typename }" }),
            "GRAPHQL_VALIDATION_FAILED",
        ),
    ] {
        let plain = http.post(JSON, body.clone()).await;
        assert_eq!((plain.status.as_u16(), plain.code().as_str()), (200, code), "{body}");
        let graphql = http.post(GRAPHQL, body.clone()).await;
        assert_eq!(
            (graphql.status.as_u16(), graphql.code().as_str()),
            (400, code),
            "{body}"
        );
        for answer in [plain, graphql] {
            assert!(answer.json().get("data").is_none(), "{body}: {}", answer.text);
        }
    }
}

#[tokio::test]
async fn given_a_field_that_fails_then_the_rest_is_answered_with_200() {
    let http = Http::new().await;
    let body = json!({ "query": "{ order(id: \"nonsense\") { id } __typename }" });
    for accept in [JSON, GRAPHQL] {
        let answer = http.post(accept, body.clone()).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json()["data"], json!({ "order": null, "__typename": "Query" }));
        assert_eq!(answer.json()["errors"][0]["path"], json!(["order"]));
        assert_eq!(answer.code(), "INVALID_ID");
    }
}

#[tokio::test]
async fn given_get_then_queries_run_and_nothing_else() {
    let http = Http::new().await;
    for accept in [JSON, GRAPHQL, "*/*"] {
        assert_eq!(
            http.get(accept, "query=%7B%20__typename%20%7D").await.data()["__typename"],
            "Query"
        );
    }
    let variables = "query=query+Type(%24name%3A+String!)+%7B+__type(name%3A+%24name)+%7B+name+%7D+%7D&variables=%7B%22name%22%3A%22Money%22%7D";
    assert_eq!(
        http.get(GRAPHQL, variables).await.data(),
        json!({ "__type": { "name": "Money" } })
    );
    let named = "query=query+A%7Ba:__typename%7Dquery+B%7Bb:__typename%7D&operationName=B&variables=&extensions=%7B%7D";
    assert_eq!(http.get(JSON, named).await.data(), json!({ "b": "Query" }));
    for (accept, operation) in [(GRAPHQL, "mutation"), (JSON, "mutation"), (GRAPHQL, "subscription")] {
        let answer = http.get(accept, &format!("query={operation}%7B__typename%7D")).await;
        assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, "POST"));
    }
    for bad in [
        "",
        "notquery=x",
        "query=%7B__typename%7D&variables=nope",
        "query=%7B__typename%7D&variables=%5B%5D",
        "query=%7B__typename%7D&extensions=1",
        "query=%7B__typename%7D&query=%7B__typename%7D",
    ] {
        let answer = http.get(GRAPHQL, bad).await;
        assert_eq!(
            (answer.status.as_u16(), answer.code().as_str()),
            (400, "BAD_REQUEST"),
            "{bad}"
        );
    }
}

#[tokio::test]
async fn given_other_methods_then_405_with_those_allowed() {
    let http = Http::new().await;
    for method in [Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS] {
        let headers = [("authorization", http.bearer.as_str())];
        let answer = http.world.send(request(method.clone(), "/graphql", &headers, "")).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("allow")),
            (405, "GET, HEAD, POST"),
            "{method}"
        );
        assert_eq!(kind(&answer), "application/problem+json");
    }
}

#[tokio::test]
async fn given_no_token_a_wrong_one_or_no_right_then_401_and_403() {
    let http = Http::new().await;
    let world = &http.world;
    let body = json!({ "query": "{ __typename }" }).to_string();
    let tampered = format!("{}x", http.bearer);
    for authorization in [
        None,
        Some("Bearer nonsense"),
        Some("Basic dTpw"),
        Some(tampered.as_str()),
    ] {
        let mut headers = vec![("content-type", JSON), ("accept", GRAPHQL)];
        headers.extend(authorization.map(|value| ("authorization", value)));
        let post = world
            .send(request(Method::POST, "/graphql", &headers, body.clone()))
            .await;
        let get = world
            .send(request(Method::GET, "/graphql?query=%7B__typename%7D", &headers, ""))
            .await;
        for answer in [post, get] {
            assert_eq!(
                (answer.status.as_u16(), kind(&answer)),
                (401, "application/problem+json"),
                "{authorization:?}"
            );
            assert!(answer.header("www-authenticate").starts_with("Bearer"));
        }
    }
    for scopes in [
        &[][..],
        &[Scope::OrdersWrite, Scope::CatalogWrite, Scope::EventsRead, Scope::Ops],
    ] {
        let bearer = format!("Bearer {}", world.token_for("dev", None, scopes));
        let headers = [("content-type", JSON), ("authorization", bearer.as_str())];
        let answer = world
            .send(request(Method::POST, "/graphql", &headers, body.clone()))
            .await;
        assert_eq!(
            (answer.status.as_u16(), answer.json()["code"].as_str()),
            (403, Some("missing_scope"))
        );
    }
}

#[tokio::test]
async fn given_a_browser_then_it_gets_the_explorer_and_the_page_needs_nothing_from_elsewhere() {
    let http = Http::new().await;
    let world = &http.world;
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
    for uri in ["/graphql", "/graphql?query=%7B__typename%7D"] {
        let page = world.send(request(Method::GET, uri, &[("accept", browser)], "")).await;
        assert_eq!(
            (page.status.as_u16(), kind(&page)),
            (200, "text/html; charset=utf-8"),
            "{uri}"
        );
        assert!(page.header("content-security-policy").contains("default-src 'none'"));
        let mut parts = vec![page.text];
        for asset in ["/graphql/explorer.js", "/graphql/explorer.css"] {
            assert!(parts[0].contains(asset));
            let answer = world.send(request(Method::GET, asset, &[], "")).await;
            assert_eq!(answer.status, 200);
            parts.push(answer.text);
        }
        for part in parts {
            assert!(
                !part.contains("http://") && !part.contains("https://") && !part.contains("//cdn"),
                "loads from elsewhere"
            );
        }
    }
    let settings = service::settings::QuerySettings {
        graphiql: false,
        ..Default::default()
    };
    let bare = query_api::router(world.api(&settings));
    let answer = super::support::send(&bare, request(Method::GET, "/graphql", &[("accept", "text/html")], "")).await;
    assert_eq!(answer.status, 406);
}
