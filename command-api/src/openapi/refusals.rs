//! Refusals, described once and referred to by every route.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::json;
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, ComponentsBuilder, ObjectBuilder, Schema, SchemaType, Type,
};
use utoipa::openapi::{Components, ContentBuilder, HeaderBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, PartialSchema, ToSchema};

/// A problem document (RFC 9457).
pub(crate) struct ProblemDocument;

impl PartialSchema for ProblemDocument {
    fn schema() -> RefOr<Schema> {
        let fault = ObjectBuilder::new()
            .property(
                "pointer",
                text("JSON pointer (RFC 6901) to the part of the body at fault."),
            )
            .property("detail", text("What is wrong with it."))
            .required("pointer")
            .required("detail");
        ObjectBuilder::new()
            .description(Some("A problem document (RFC 9457). Further members depend on `code`."))
            .property("type", text("Where the code is explained."))
            .property("title", text("The status, in words."))
            .property("status", ObjectBuilder::new().schema_type(Type::Integer))
            .property(
                "code",
                text("Stable, for programs; `docs/errors.md` says what to do next."),
            )
            .property("detail", text("For people; may change."))
            .property("errors", ArrayBuilder::new().items(fault))
            .required("type")
            .required("title")
            .required("status")
            .required("code")
            .required("detail")
            .additional_properties(Some(AdditionalProperties::FreeForm(true)))
            .into()
    }
}

impl ToSchema for ProblemDocument {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Problem")
    }
}

fn text(description: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::String))
        .description(Some(description))
}

/// One refusal: status, name among the components, what it means, a code it carries.
struct Refusal {
    status: &'static str,
    name: &'static str,
    description: &'static str,
    code: &'static str,
    header: Option<(&'static str, &'static str)>,
}

const RETRY_AFTER: Option<(&str, &str)> = Some(("Retry-After", "Seconds after which to try again."));
const CHALLENGE: Option<(&str, &str)> = Some(("WWW-Authenticate", "What kind of token is asked for."));

const fn refusal(status: &'static str, name: &'static str, code: &'static str, description: &'static str) -> Refusal {
    Refusal {
        status,
        name,
        description,
        code,
        header: None,
    }
}

const fn with(header: Option<(&'static str, &'static str)>, refusal: Refusal) -> Refusal {
    Refusal { header, ..refusal }
}

const MALFORMED: Refusal = refusal("400", "Malformed", "malformed_json", "The request cannot be read.");
const UNAUTHENTICATED: Refusal = with(
    CHALLENGE,
    refusal(
        "401",
        "Unauthenticated",
        "unauthenticated",
        "There is no token, or it is not accepted.",
    ),
);
const FORBIDDEN: Refusal = with(
    CHALLENGE,
    refusal(
        "403",
        "Forbidden",
        "missing_scope",
        "The token lacks a scope or the establishment.",
    ),
);
const NOT_FOUND: Refusal = refusal(
    "404",
    "NotFound",
    "order_not_found",
    "The tenant has nothing under this id; another tenant's is no different.",
);
const METHOD: Refusal = with(
    Some(("Allow", "The methods that are supported.")),
    refusal(
        "405",
        "MethodNotAllowed",
        "method_not_allowed",
        "The path does not support the method.",
    ),
);
const CONFLICT: Refusal = refusal(
    "409",
    "Conflict",
    "illegal_transition",
    "The order exists with another body, or its status forbids this.",
);
const STALE: Refusal = refusal(
    "412",
    "Stale",
    "stale_version",
    "The stored version is not the one that was named.",
);
const TOO_LARGE: Refusal = refusal(
    "413",
    "TooLarge",
    "payload_too_large",
    "The body is larger than is accepted.",
);
const MEDIA_TYPE: Refusal = refusal("415", "MediaType", "unsupported_media_type", "The body is not JSON.");
const UNPROCESSABLE: Refusal = refusal(
    "422",
    "Unprocessable",
    "invalid_body",
    "The body is JSON but not valid; `errors` names what is at fault.",
);
const TOO_MANY: Refusal = with(
    RETRY_AFTER,
    refusal(
        "429",
        "TooManyRequests",
        "rate_limited",
        "The client sends more than it may.",
    ),
);
const INTERNAL: Refusal = refusal("500", "Internal", "internal", "Something failed on our side.");
const UNAVAILABLE: Refusal = with(
    RETRY_AFTER,
    refusal(
        "503",
        "Unavailable",
        "overloaded",
        "Too much to do, or a part is missing. Repeating it is safe.",
    ),
);

const READ: &[&Refusal] = &[
    &MALFORMED,
    &UNAUTHENTICATED,
    &FORBIDDEN,
    &METHOD,
    &TOO_MANY,
    &INTERNAL,
    &UNAVAILABLE,
];
const COMMAND: &[&Refusal] = &[&TOO_LARGE, &MEDIA_TYPE, &UNPROCESSABLE];

/// Puts every refusal, and the schema of problem documents, among the components.
pub(super) fn add_to(components: &mut Components) {
    let others = [&NOT_FOUND, &CONFLICT, &STALE];
    let all = READ.iter().chain(COMMAND).chain(&others);
    let responses = all.map(|refusal| (refusal.name.to_owned(), RefOr::T(describe(refusal))));
    components.responses.extend(responses);
    let schemas = ComponentsBuilder::new()
        .schema(ProblemDocument::name(), ProblemDocument::schema())
        .build();
    components.schemas.extend(schemas.schemas);
}

fn describe(refusal: &Refusal) -> Response {
    let status: u16 = refusal.status.parse().unwrap_or_default();
    let example = json!({
        "type": format!("/docs/errors#{}", refusal.code),
        "title": axum::http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()),
        "status": status,
        "code": refusal.code,
        "detail": refusal.description,
    });
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name(ProblemDocument::name())))
        .example(Some(example))
        .build();
    let response = ResponseBuilder::new()
        .description(refusal.description)
        .content(service::problem::MEDIA_TYPE, content);
    let response = match refusal.header {
        Some((name, meaning)) => response.header(name, HeaderBuilder::new().description(Some(meaning)).build()),
        None => response,
    };
    response.build()
}

fn references(refusals: &[&Refusal]) -> BTreeMap<String, RefOr<Response>> {
    let reference = |refusal: &&Refusal| {
        let reference = Ref::from_response_name(refusal.name);
        (refusal.status.to_owned(), RefOr::Ref(reference))
    };
    refusals.iter().map(reference).collect()
}

macro_rules! groups {
    ($($(#[$doc:meta])* $name:ident = $refusals:expr;)*) => {$(
        $(#[$doc])*
        pub(crate) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                $refusals
            }
        }
    )*};
}

groups! {
    /// What any request may meet.
    ReadRefusals = references(READ);
    /// What any command may meet.
    CommandRefusals = references(READ).into_iter().chain(references(COMMAND)).collect();
    /// Where the path names something.
    NotFound = references(&[&NOT_FOUND]);
    /// Where the state of an order may forbid the command.
    Conflict = references(&[&CONFLICT]);
    /// Where a version may be named.
    Stale = references(&[&STALE]);
}
