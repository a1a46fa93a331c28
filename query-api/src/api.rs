//! One GraphQL request from its parameters to its answer.
//!
//! In order: the text is scanned, parsed and measured against the limits; the generations are
//! resolved and, where the request brings a position, waited for; the schema executes on one
//! session; the answer is dressed with its position and what the client must know about it. Nothing
//! outlives the request, so a crash at any point loses only the answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::parser::parse_query;
use async_graphql::parser::types::{ExecutableDocument, OperationType};
use async_graphql::{Name, Request, Response, ServerError, Value, Variables, value};
use axum::extract::FromRef;
use event_store::{PositionToken, Slot};
use http::HeaderValue;
use http::header::ALLOW;
use service::settings::QuerySettings;
use service::{Principal, Problem, Verifier};

use crate::error::{Code, Error, code_of, request_error, set_code};
use crate::generation::{self, Chosen};
use crate::history::History;
use crate::http::Params;
use crate::limits::{self, Limits, Measured, Question};
use crate::nulls::FieldTypes;
use crate::position::{self, NotReached, Patience, Progress, Waited, Wanted};
use crate::read_model::ReadModel;
use crate::schema::{Schema, schema, sdl};
use crate::session::{Outage, Seen, Session};
use crate::stores::{Lease, ReadStores, Replica};

/// The query API: everything a request needs, cheap to clone.
#[derive(Clone)]
pub struct QueryApi(Arc<Parts>);

#[derive(Clone)]
struct Parts {
    schema: Schema,
    types: Arc<FieldTypes>,
    stores: ReadStores,
    verifier: Arc<Verifier>,
    limits: Arc<Limits>,
    patience: Patience,
    progress: Option<Arc<dyn Progress>>,
    history: History,
    explorer: bool,
}

/// A request as it reaches the API.
pub(crate) struct Asked {
    pub(crate) params: Params,
    pub(crate) brought: Option<PositionToken>,
    pub(crate) chosen: Chosen,
    /// GET must not change anything.
    pub(crate) may_write: bool,
}

/// What a request is answered with.
pub(crate) struct Answer {
    pub(crate) standing: Standing,
    /// `None` where nothing ran.
    pub(crate) data: Option<Value>,
    pub(crate) errors: Vec<ServerError>,
    pub(crate) extensions: BTreeMap<&'static str, Value>,
    pub(crate) position: PositionToken,
}

/// How far a request got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Ran,
    /// The document or its variables were refused.
    NotRun,
    /// Nothing that was asked for may be seen with this token.
    Forbidden,
    /// The position was not reached in time.
    Behind,
}

/// What is executed.
struct Run<'r> {
    principal: Principal,
    document: ExecutableDocument,
    measured: &'r Measured,
    brought: Option<&'r PositionToken>,
    chosen: &'r Chosen,
}

impl QueryApi {
    pub fn new(stores: ReadStores, verifier: Arc<Verifier>, settings: &QuerySettings) -> Self {
        let patience = Patience {
            total: Duration::from_millis(settings.position_wait_ms),
            poll: Duration::from_millis(settings.position_poll_ms.max(1)),
        };
        Self(Arc::new(Parts {
            schema: schema(),
            types: Arc::new(FieldTypes::of(&sdl())),
            stores,
            verifier,
            limits: Arc::new(Limits::new(settings)),
            patience,
            progress: None,
            history: History::default(),
            explorer: settings.graphiql,
        }))
    }

    /// Wakes waiting requests by `progress` instead of by the next poll. Call it before the API is
    /// cloned or served.
    #[must_use]
    pub fn with_progress(self, progress: impl Progress) -> Self {
        Self(Arc::new(Parts {
            progress: Some(Arc::new(progress)),
            ..Parts::clone(&self.0)
        }))
    }

    /// Answers what is asked of the past; without it such fields fail. Call it before the API is
    /// cloned or served.
    #[must_use]
    pub fn with_history(self, history: History) -> Self {
        Self(Arc::new(Parts {
            history,
            ..Parts::clone(&self.0)
        }))
    }

    pub(crate) fn serves_explorer(&self) -> bool {
        self.0.explorer
    }

    /// # Errors
    /// A problem where the request cannot be answered as GraphQL: a change asked for by GET, or a
    /// read store that does not answer.
    pub(crate) async fn answer(&self, principal: Principal, asked: Asked) -> Result<Answer, Problem> {
        let Asked {
            params,
            brought,
            chosen,
            may_write,
        } = asked;
        let slot = Slot::of(principal.tenant().tenant());
        let (document, measured) = match self.judge(&params) {
            Ok(judged) => judged,
            Err(error) => return Ok(Answer::refused(vec![error], slot, brought.as_ref())),
        };
        if measured.kind != OperationType::Query && !may_write {
            return Err(Problem::method_not_allowed().with_header(ALLOW, HeaderValue::from_static("POST")));
        }
        let run = Run {
            principal,
            document,
            measured: &measured,
            brought: brought.as_ref(),
            chosen: &chosen,
        };
        let (mut response, seen) = match self.run(run, &params).await? {
            Ok(done) => done,
            Err(behind) => return Ok(Answer::behind(&behind, slot, brought.as_ref())),
        };
        // Validation walks the document twice and may say the same twice.
        response.errors.dedup();
        // What ran and failed has a path; what was refused before has none.
        let ran = response.errors.iter().all(|error| !error.path.is_empty());
        if ran && !response.errors.is_empty() {
            self.settle(&params.query, params.operation_name.as_deref(), &mut response);
        }
        let mut answer = Answer::of(response, ran, &measured, slot);
        answer.dress(&measured, &self.0.limits, &seen, brought.as_ref(), slot);
        Ok(answer)
    }

    /// Executes, and where the endpoint lets the request down, again on another, until each was asked
    /// once: two may have gone together, and their loss may not be known yet. Reads may be repeated,
    /// and nothing was answered. Each time all fields are read anew, so an answer never mixes two
    /// endpoints.
    async fn run(&self, run: Run<'_>, params: &Params) -> Result<Result<(Response, Seen), NotReached>, Problem> {
        let mut failed: Vec<Arc<Replica>> = Vec::new();
        loop {
            let source = match self.source(&run, &failed).await? {
                Ok(source) => source,
                Err(behind) => return Ok(Err(behind)),
            };
            let several = run.measured.several_statements;
            let session = Session::new(run.principal.clone(), source, run.brought.copied(), several);
            let session = Arc::new(session);
            // The document goes in parsed; its text is only needed again where a field fails.
            let mut request = Request::new("")
                .variables(params.variables.clone())
                .data(Arc::clone(&session))
                .data(Arc::clone(&self.0.limits))
                .data(self.0.history.clone());
            request.operation_name.clone_from(&params.operation_name);
            request.set_parsed_query(run.document.clone());
            let response = self.0.schema.execute(request).await;
            let seen = session.finish().await;
            match (seen.outage, session.replica()) {
                (None, _) => return Ok(Ok((response, seen))),
                (Some(Outage::Unavailable), Some(replica)) if failed.len() + 1 < self.0.stores.len() => {
                    metrics::counter!("query_retries_total").increment(1);
                    failed.push(replica);
                }
                (Some(Outage::Unavailable), _) => return Err(Problem::unavailable()),
                (Some(Outage::Overloaded), _) => return Err(Problem::overloaded()),
            }
        }
    }

    /// Puts nulls where fields failed.
    fn settle(&self, query: &str, operation_name: Option<&str>, response: &mut Response) {
        let Ok(document) = parse_query(query) else { return };
        let variables = Variables::default();
        let question = Question {
            document: &document,
            operation_name,
            variables: &variables,
        };
        let Ok(operation) = limits::operation(&question) else {
            return;
        };
        let selection = &operation.selection_set.node;
        self.0
            .types
            .settle(&document, selection, &mut response.data, &response.errors);
    }

    /// Scans, parses and measures.
    fn judge(&self, params: &Params) -> Result<(ExecutableDocument, Measured), ServerError> {
        let limits = &self.0.limits;
        limits::scan(&params.query, limits)?;
        let document = parse_query(&params.query).map_err(|error| {
            let mut error = ServerError::from(error);
            set_code(&mut error, Code::ParseFailed);
            error
        })?;
        let question = Question {
            document: &document,
            operation_name: params.operation_name.as_deref(),
            variables: &params.variables,
        };
        let measured = limits::measure(&question, limits)?;
        Ok((document, measured))
    }

    /// Where to read from, and of which generations.
    async fn source(
        &self,
        run: &Run<'_>,
        failed: &[Arc<Replica>],
    ) -> Result<Result<Option<Lease>, NotReached>, Problem> {
        if run.measured.models.is_empty() {
            return Ok(Ok(None));
        }
        if run.chosen.is_empty() {
            return Ok(self.lease(run, failed).await?.map(Some));
        }
        // A standby may not have heard of a generation yet, and a store of its own need not have it.
        let (mut avoid, mut unknown) = (failed.to_vec(), None);
        loop {
            let mut lease = match (self.lease(run, &avoid).await, unknown) {
                (Ok(Ok(lease)), _) => lease,
                (Ok(Err(behind)), None) => return Ok(Err(behind)),
                (Err(problem), None) => return Err(problem),
                (Ok(Err(_)) | Err(_), Some(unknown)) => return Err(unknown),
            };
            match lease.choose(run.chosen).await.map_err(|error| outage(&error))? {
                Ok(()) => return Ok(Ok(Some(lease))),
                Err((model, generation)) => unknown = Some(generation::unknown(model, generation)),
            }
            avoid.push(Arc::clone(&lease.replica));
        }
    }

    /// An endpoint that has passed the position that the request brings.
    async fn lease(&self, run: &Run<'_>, avoid: &[Arc<Replica>]) -> Result<Result<Lease, NotReached>, Problem> {
        let stores = &self.0.stores;
        // A generation that was named is read as it is, however far it is.
        let mut models = run.measured.models.clone();
        models.retain(|model| !run.chosen.names(*model));
        let Some(token) = run.brought.filter(|_| !models.is_empty()) else {
            let picked = stores.pick(avoid).await;
            return picked.map(Ok).map_err(|error| outage(&error));
        };
        let wanted = Wanted {
            models: &models,
            token,
            avoid,
        };
        match position::wait(stores, self.0.progress.as_deref(), wanted, self.0.patience).await {
            Ok(Waited::Reached(lease)) => Ok(Ok(lease)),
            Ok(Waited::NotReached(behind)) => Ok(Err(behind)),
            Err(error) => Err(outage(&error)),
        }
    }
}

/// The read store could not even be asked where it stands.
fn outage(error: &Error) -> Problem {
    match error {
        Error::Overloaded => Problem::overloaded(),
        Error::Unavailable(_) | Error::NotReady(_) => Problem::unavailable(),
        Error::Refused { .. }
        | Error::Statement(_)
        | Error::Row(_)
        | Error::Log(_)
        | Error::LogTooSlow
        | Error::NoLog => {
            tracing::error!(error = error as &dyn std::error::Error, "the read store cannot be read");
            Problem::internal()
        }
    }
}

impl Answer {
    fn refused(errors: Vec<ServerError>, slot: Slot, brought: Option<&PositionToken>) -> Self {
        Self {
            standing: Standing::NotRun,
            data: None,
            errors,
            extensions: BTreeMap::new(),
            position: position::of_answer(slot, brought, None),
        }
    }

    fn behind(behind: &NotReached, slot: Slot, brought: Option<&PositionToken>) -> Self {
        let models: Vec<Value> = behind.behind.iter().map(|model| Value::from(model.as_str())).collect();
        let mut error = request_error(
            Code::PositionNotReached,
            "The read models have not reached the position in `Comanda-Position` yet. Send the request again, or \
             without it for what there is now.",
        );
        error
            .extensions
            .get_or_insert_default()
            .set("readModels", Value::List(models));
        Self {
            standing: Standing::Behind,
            ..Self::refused(vec![error], slot, brought)
        }
    }

    /// Sorts what async-graphql answered: what `ran`, and what was refused before.
    fn of(response: Response, ran: bool, measured: &Measured, slot: Slot) -> Self {
        let (data, mut errors) = (response.data, response.errors);
        let position = position::of_answer(slot, None, None);
        let extensions = BTreeMap::new();
        for error in &mut errors {
            if code_of(error).is_none() {
                set_code(error, if ran { Code::Internal } else { Code::ValidationFailed });
            }
        }
        if !ran {
            return Self {
                standing: Standing::NotRun,
                data: None,
                errors,
                extensions,
                position,
            };
        }
        let forbidden = data == Value::Null
            && !errors.is_empty()
            && errors
                .iter()
                .all(|error| code_of(error) == Some(Code::EstablishmentForbidden.as_str()));
        if forbidden {
            return Self {
                standing: Standing::Forbidden,
                data: None,
                errors,
                extensions,
                position,
            };
        }
        let data = in_order(data, &measured.keys, errors.is_empty());
        Self {
            standing: Standing::Ran,
            data: Some(data),
            errors,
            extensions,
            position,
        }
    }

    fn dress(
        &mut self,
        measured: &Measured,
        limits: &Limits,
        seen: &Seen,
        brought: Option<&PositionToken>,
        slot: Slot,
    ) {
        self.position = position::of_answer(slot, brought, seen.furthest);
        self.extensions
            .insert("cost", value!({ "requested": measured.cost, "limit": limits.cost }));
        if !seen.parked.is_empty() {
            let names = seen
                .parked
                .iter()
                .map(|model: &ReadModel| Value::from(model.as_str()))
                .collect();
            self.extensions.insert("parked", Value::List(names));
        }
        if let (Some(token), Some(furthest)) = (brought, seen.furthest)
            && position::restored_since(token, furthest)
        {
            self.extensions.insert("restored", Value::from(true));
        }
    }
}

/// The fields of `data` as the document orders them, which concurrent execution does not keep; and
/// an object where every field was skipped, which comes as null.
fn in_order(data: Value, keys: &[Name], succeeded: bool) -> Value {
    match data {
        Value::Object(mut fields) => {
            let mut ordered = Vec::with_capacity(fields.len());
            for key in keys {
                if let Some(value) = fields.shift_remove(key) {
                    ordered.push((key.clone(), value));
                }
            }
            Value::Object(ordered.into_iter().chain(fields).collect())
        }
        Value::Null if succeeded => Value::Object(std::iter::empty::<(Name, Value)>().collect()),
        other => other,
    }
}

impl FromRef<QueryApi> for Arc<Verifier> {
    fn from_ref(api: &QueryApi) -> Self {
        Arc::clone(&api.0.verifier)
    }
}

impl std::fmt::Debug for QueryApi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueryApi")
            .field("stores", &self.0.stores)
            .finish_non_exhaustive()
    }
}
