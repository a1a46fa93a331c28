//! The parameters of a GraphQL request, from a body or a URL.

use async_graphql::{ServerError, Variables};
use http::Uri;
use serde_json::{Map, Value};

use crate::error::{Code, request_error};

/// What a client sends. Unknown parameters are ignored, as the specification leaves room for them.
#[derive(Debug)]
pub(crate) struct Params {
    pub(crate) query: String,
    pub(crate) operation_name: Option<String>,
    pub(crate) variables: Variables,
}

impl Params {
    /// From a JSON body.
    pub(super) fn from_json(body: &[u8]) -> Result<Self, ServerError> {
        let value: Value =
            serde_json::from_slice(body).map_err(|error| malformed(format!("The body is not JSON: {error}.")))?;
        match value {
            Value::Object(fields) => Self::from_object(fields),
            Value::Array(_) => Err(request_error(
                Code::BatchNotSupported,
                "Batches are not supported; send each operation as a request of its own.",
            )),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                Err(malformed("The body must be a JSON object with a `query`."))
            }
        }
    }

    /// From the query of a URL, where `variables` and `extensions` are JSON texts.
    pub(super) fn from_query(uri: &Uri) -> Result<Self, ServerError> {
        let axum::extract::Query(pairs) = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|_| malformed("The URL's query cannot be read."))?;
        let mut fields = Map::new();
        for (name, text) in pairs {
            let value = match name.as_str() {
                "query" | "operationName" => Value::String(text),
                "variables" | "extensions" if text.is_empty() => Value::Null,
                "variables" | "extensions" => {
                    serde_json::from_str(&text).map_err(|error| malformed(format!("`{name}` is not JSON: {error}.")))?
                }
                _ => continue,
            };
            if fields.insert(name.clone(), value).is_some() {
                return Err(malformed(format!("`{name}` was sent more than once.")));
            }
        }
        Self::from_object(fields)
    }

    fn from_object(mut fields: Map<String, Value>) -> Result<Self, ServerError> {
        let query = match fields.remove("query") {
            Some(Value::String(query)) => query,
            Some(_) => return Err(malformed("`query` must be a string.")),
            None => return Err(malformed("`query` is missing: the GraphQL document to run.")),
        };
        let operation_name = match fields.remove("operationName") {
            None | Some(Value::Null) => None,
            // Some clients send it empty where there is only one operation.
            Some(Value::String(name)) => Some(name).filter(|name| !name.is_empty()),
            Some(_) => return Err(malformed("`operationName` must be a string or null.")),
        };
        let mut object = |name: &str| match fields.remove(name) {
            None | Some(Value::Null) => Ok(Map::new()),
            Some(Value::Object(object)) => Ok(object),
            Some(_) => Err(malformed(format!("`{name}` must be an object or null."))),
        };
        let variables = Variables::from_json(Value::Object(object("variables")?));
        // Nothing is read from it; that it is well formed is part of the protocol.
        object("extensions")?;
        Ok(Self {
            query,
            operation_name,
            variables,
        })
    }
}

fn malformed(message: impl Into<String>) -> ServerError {
    request_error(Code::BadRequest, message)
}
