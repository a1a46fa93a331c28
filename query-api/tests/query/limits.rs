//! Documents that ask for too much are refused before anything runs, whatever their shape.

use super::support::World;
use serde_json::json;

#[tokio::test]
async fn given_documents_made_to_hurt_then_each_is_refused_with_its_limit() {
    let world = World::new().await;
    let fragments = |count: usize, width: usize| {
        let mut document = String::from("{ ...F0 }");
        for index in 0..count {
            let spreads = format!("...F{} ", index + 1).repeat(width);
            document.push_str(&format!(" fragment F{index} on Query {{ {spreads}}}"));
        }
        document + &format!(" fragment F{count} on Query {{ __typename }}")
    };
    for (document, limit) in [
        ("{ a(b: \"".to_owned() + &"x".repeat(40_000) + "\") }", "documentBytes"),
        ("{a".repeat(9_000), "nesting"),
        ("[".repeat(30_000), "nesting"),
        ("{ a(b: ".to_owned() + &"[".repeat(200) + &"]".repeat(200) + ") }", "nesting"),
        (fragments(25, 9), "fields"),
        (fragments(200, 1), "fragmentNesting"),
        (format!("{{ {} }}", "establishments { nodes { key } } ".repeat(21)), "rootFields"),
        (format!("{{ establishments {{ nodes {{ {} }} }} }}", (0..51).map(|i| format!("a{i}: key ")).collect::<String>()), "aliases"),
        (format!("{{ __typename {} }}", "@include(if: true) ".repeat(60)), "directives"),
        ("{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }".to_owned(), "introspectionLists"),
        (format!("{{ {} }}", (0..3).map(|i| format!("a{i}: orders(establishmentId: \"m\", first: 100) {{ edges {{ node {{ items {{ unitPrice {{ amount }} lineTotal {{ amount }} }} }} }} }} ")).collect::<String>()), "cost"),
    ] {
        let answer = world.query("dev", &document, json!({})).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "LIMIT_EXCEEDED"), "{limit}: {}", answer.text);
        assert_eq!(answer.json()["errors"][0]["extensions"]["limit"], limit, "{}", answer.text);
        assert!(answer.json().get("data").is_none());
    }
}

#[tokio::test]
async fn given_a_cycle_of_fragments_then_it_is_refused() {
    let world = World::new().await;
    let query = "{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }";
    assert_eq!(
        world.query("dev", query, json!({})).await.code(),
        "GRAPHQL_VALIDATION_FAILED"
    );
    let unused = "{ __typename } fragment A on Query { ...B } fragment B on Query { ...A }";
    assert_eq!(world.query("dev", unused, json!({})).await.status, 400);
}

#[tokio::test]
async fn given_an_answer_then_it_says_what_the_query_cost() {
    let world = World::new().await;
    let answer = world
        .query(
            "dev",
            "{ orders(establishmentId: \"main\", first: 7) { nodes { number } } }",
            json!({}),
        )
        .await;
    assert_eq!(
        answer.json()["extensions"]["cost"],
        json!({ "requested": 8, "limit": 5000 })
    );
}

#[tokio::test]
async fn given_the_introspection_of_the_usual_tools_then_it_is_allowed() {
    let world = World::new().await;
    let type_ref = (0..9).fold("kind name".to_owned(), |inner, _| {
        format!("kind name ofType {{ {inner} }}")
    });
    let query = format!(
        "query IntrospectionQuery {{ __schema {{ queryType {{ name }} mutationType {{ name }} subscriptionType {{ name }}
           types {{ ...FullType }} directives {{ name description isRepeatable locations args(includeDeprecated: true) {{ ...InputValue }} }} }} }}
         fragment FullType on __Type {{ kind name description specifiedByURL
           fields(includeDeprecated: true) {{ name description args(includeDeprecated: true) {{ ...InputValue }} type {{ ...TypeRef }} isDeprecated deprecationReason }}
           inputFields(includeDeprecated: true) {{ ...InputValue }} interfaces {{ ...TypeRef }}
           enumValues(includeDeprecated: true) {{ name description isDeprecated deprecationReason }} possibleTypes {{ ...TypeRef }} }}
         fragment InputValue on __InputValue {{ name description type {{ ...TypeRef }} defaultValue isDeprecated deprecationReason }}
         fragment TypeRef on __Type {{ {type_ref} }}"
    );
    let data = world.query("dev", &query, json!({})).await.data();
    assert_eq!(data["__schema"]["queryType"]["name"], "Query");
    assert_eq!(data["__schema"]["mutationType"], json!(null));
}
