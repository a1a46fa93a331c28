//! What an operation will read and how much it costs, before it is validated.

use std::collections::HashMap;

use async_graphql::parser::types::{
    Directive, ExecutableDocument, Field, OperationDefinition, OperationType, Selection, SelectionSet,
};
use async_graphql::{Name, Positioned, ServerError, Value, Variables};

use super::weight::Weight;
use super::{Limits, exceeded};
use crate::error::{Code, request_error};
use crate::plan;
use crate::read_model::ReadModel;

/// Rows an order is taken to have of each list on it.
const ITEMS: u64 = 5;
const TIMELINE: u64 = 5;
const MODIFIERS: u64 = 1;
/// A total is counted by reading the whole list.
const TOTAL_COUNT: u64 = 50;
/// A stream is read from the log and folded.
const HISTORY: u64 = 20;
/// Fragments may nest this deep in each other.
const FRAGMENT_NESTING: u64 = 30;
/// Lists of introspection may nest this deep in each other: enough for the usual tools, too little
/// to multiply the schema by itself.
const INTROSPECTION_LISTS: u64 = 2;

/// One request's operation.
pub(crate) struct Question<'d> {
    pub(crate) document: &'d ExecutableDocument,
    pub(crate) operation_name: Option<&'d str>,
    pub(crate) variables: &'d Variables,
}

/// What is known of an operation before it runs.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    pub(crate) kind: OperationType,
    /// Estimated objects in the answer.
    pub(crate) cost: u64,
    /// Every read model the operation can touch.
    pub(crate) models: Vec<ReadModel>,
    /// More than one statement will be needed.
    pub(crate) several_statements: bool,
    /// Keys of the answer's `data`, as the document orders them.
    pub(crate) keys: Vec<Name>,
}

/// Judges the operation that the request selects against the limits.
pub(crate) fn measure(question: &Question<'_>, limits: &Limits) -> Result<Measured, ServerError> {
    let operation = operation(question)?;
    let mut scale = Scale {
        question,
        operation,
        limits,
        fragments: HashMap::new(),
        inside: 0,
    };
    let mut fields = 0_u64;
    for (_, other) in question.document.operations.iter() {
        fields = fields.saturating_add(scale.selection(&other.node.selection_set.node)?.fields);
    }
    check("fields", limits.fields, fields, "selects more fields")?;
    // From here on the document is known to be small when expanded.
    let roots = roots(question.document, &operation.selection_set.node);
    let (mut whole, mut models, mut reads) = (Weight::default(), Vec::new(), 0_u64);
    for root in &roots {
        let weight = scale.field(root)?;
        let name = root.name.node.as_str();
        let depth = if name.starts_with("__") {
            limits.introspection_depth
        } else {
            limits.depth
        };
        check("depth", depth, weight.depth, "is nested deeper")?;
        let past = scale.asks_for_past(root);
        let touched = if past { &[] } else { plan::models_of(name) };
        reads += u64::from(!touched.is_empty());
        models.extend_from_slice(touched);
        if weight.timeline && !past {
            models.push(ReadModel::OrderTimeline);
        }
        whole = whole.and(weight);
    }
    models.sort_unstable();
    models.dedup();
    judge(whole, u64::try_from(roots.len()).unwrap_or(u64::MAX), limits)?;
    required_variables(operation, question.variables)?;
    let mut keys: Vec<Name> = Vec::new();
    for root in roots {
        let key = &root.response_key().node;
        if !keys.contains(key) {
            keys.push(key.clone());
        }
    }
    let several_statements = reads > 1 || whole.timeline;
    Ok(Measured {
        kind: operation.ty,
        cost: whole.cost(1),
        models,
        several_statements,
        keys,
    })
}

fn judge(whole: Weight, root_fields: u64, limits: &Limits) -> Result<(), ServerError> {
    check("rootFields", limits.root_fields, root_fields, "has more root fields")?;
    check("aliases", limits.aliases, whole.aliases, "has more aliases")?;
    check("directives", limits.directives, whole.directives, "has more directives")?;
    let lists = whole.introspection_lists;
    check(
        "introspectionLists",
        INTROSPECTION_LISTS,
        lists,
        "nests lists of introspection deeper",
    )?;
    check(
        "cost",
        limits.cost,
        whole.cost(1),
        "costs more; ask for smaller pages or fewer objects",
    )
}

fn check(limit: &'static str, allowed: u64, requested: u64, what: &str) -> Result<(), ServerError> {
    if requested <= allowed {
        return Ok(());
    }
    Err(exceeded(
        limit,
        allowed,
        requested,
        format!("The operation {what}: {limit} is limited to {allowed}."),
    ))
}

/// The operation that `operationName` selects.
pub(crate) fn operation<'d>(question: &Question<'d>) -> Result<&'d OperationDefinition, ServerError> {
    let mut operations = question.document.operations.iter();
    let found = match question.operation_name {
        Some(wanted) => operations.find(|(name, _)| name.is_some_and(|name| name.as_str() == wanted)),
        None => operations.next().filter(|_| operations.next().is_none()),
    };
    found.map(|(_, operation)| &operation.node).ok_or_else(|| {
        let message = match question.operation_name {
            Some(_) => "`operationName` names no operation of the document.",
            None => "The document has several operations; `operationName` must name one.",
        };
        request_error(Code::OperationNotFound, message)
    })
}

/// A variable that must have a value and has none is an error of the request, not of a field.
fn required_variables(operation: &OperationDefinition, variables: &Variables) -> Result<(), ServerError> {
    for Positioned { node: definition, pos } in &operation.variable_definitions {
        let optional = definition.var_type.node.nullable || definition.default_value.is_some();
        let given = variables.get(&definition.name.node);
        let missing = match given {
            None => !optional,
            Some(Value::Null) => !definition.var_type.node.nullable,
            Some(_) => false,
        };
        if missing {
            let message = format!(
                "Variable \"${}\" of required type \"{}\" was not given.",
                definition.name.node, definition.var_type.node
            );
            let mut error = request_error(Code::ValidationFailed, message);
            error.locations = vec![*pos];
            return Err(error);
        }
    }
    Ok(())
}

/// The root fields, fragments resolved. Called only on documents known to expand to few fields.
fn roots<'d>(document: &'d ExecutableDocument, selection: &'d SelectionSet) -> Vec<&'d Field> {
    let mut found = Vec::new();
    for item in &selection.items {
        match &item.node {
            Selection::Field(field) => found.push(&field.node),
            Selection::InlineFragment(fragment) => {
                found.extend(roots(document, &fragment.node.selection_set.node));
            }
            Selection::FragmentSpread(spread) => {
                if let Some(fragment) = document.fragments.get(&spread.node.fragment_name.node) {
                    found.extend(roots(document, &fragment.node.selection_set.node));
                }
            }
        }
    }
    found
}

/// Weighs selections, each fragment once.
struct Scale<'d> {
    question: &'d Question<'d>,
    operation: &'d OperationDefinition,
    limits: &'d Limits,
    /// `None` while a fragment is being weighed.
    fragments: HashMap<&'d str, Option<Weight>>,
    /// Fragments within fragments, where weighing is now.
    inside: u64,
}

impl<'d> Scale<'d> {
    fn selection(&mut self, selection: &'d SelectionSet) -> Result<Weight, ServerError> {
        let mut sum = Weight::default();
        for item in &selection.items {
            let weight = match &item.node {
                Selection::Field(field) => self.field(&field.node)?,
                Selection::InlineFragment(fragment) => {
                    let inner = self.selection(&fragment.node.selection_set.node)?;
                    inner.and(directives(&fragment.node.directives))
                }
                Selection::FragmentSpread(spread) => {
                    let inner = self.fragment(spread.node.fragment_name.node.as_str())?;
                    inner.and(directives(&spread.node.directives))
                }
            };
            sum = sum.and(weight);
        }
        Ok(sum)
    }

    fn fragment(&mut self, name: &'d str) -> Result<Weight, ServerError> {
        match self.fragments.get(name) {
            Some(Some(weight)) => return Ok(*weight),
            Some(None) => {
                let message = format!("Fragment \"{name}\" contains itself.");
                return Err(request_error(Code::ValidationFailed, message));
            }
            None => {}
        }
        // An unknown fragment weighs nothing; validation refuses it by name.
        let Some(fragment) = self.question.document.fragments.get(name) else {
            return Ok(Weight::default());
        };
        // Weighing recurses; so do validation and execution after it.
        self.inside += 1;
        check(
            "fragmentNesting",
            FRAGMENT_NESTING,
            self.inside,
            "nests fragments deeper",
        )?;
        self.fragments.insert(name, None);
        let weight = self.selection(&fragment.node.selection_set.node)?;
        self.inside -= 1;
        self.fragments.insert(name, Some(weight));
        Ok(weight)
    }

    fn field(&mut self, field: &'d Field) -> Result<Weight, ServerError> {
        let name = field.name.node.as_str();
        let inner = self.selection(&field.selection_set.node)?;
        let mut weight = inner.and(directives(&field.directives));
        weight.fields = weight.fields.saturating_add(1);
        weight.depth = weight.depth.saturating_add(1);
        weight.aliases = weight.aliases.saturating_add(u64::from(field.alias.is_some()));
        weight.timeline |= name == "timeline";
        if matches!(name, "fields" | "interfaces" | "possibleTypes" | "inputFields") {
            weight.introspection_lists = weight.introspection_lists.saturating_add(1);
        }
        let is_object = !field.selection_set.node.items.is_empty();
        (weight.fixed, weight.per_row) = self.cost(name, field, inner, is_object);
        Ok(weight)
    }

    /// One for each object the field stands for; what is below it, as often.
    fn cost(&self, name: &str, field: &Field, inner: Weight, is_object: bool) -> (u64, u64) {
        let each = inner.fixed.saturating_add(1);
        match name {
            "edges" | "nodes" => (0, each),
            "items" => (each.saturating_mul(ITEMS), inner.per_row),
            "timeline" => (each.saturating_mul(TIMELINE), inner.per_row),
            "modifiers" => (each.saturating_mul(MODIFIERS), inner.per_row),
            "totalCount" => (TOTAL_COUNT, 0),
            "dailySales" => (each.saturating_mul(self.days(field)), 0),
            "order" if self.asks_for_past(field) => (each.saturating_add(HISTORY), inner.per_row),
            "orders" | "products" | "establishments" => (inner.cost(self.rows(field)).saturating_add(1), 0),
            _ if is_object => (each, inner.per_row),
            _ => (0, 0),
        }
    }

    /// The page size a connection is asked for. What is out of range is refused when it runs.
    fn rows(&self, field: &Field) -> u64 {
        let asked = ["first", "last"]
            .into_iter()
            .find_map(|name| match self.argument(field, name)? {
                Value::Number(number) => number.as_u64(),
                _ => None,
            });
        asked
            .unwrap_or(self.limits.page_size.into())
            .min(self.limits.page_size_max.into())
    }

    fn days(&self, field: &Field) -> u64 {
        let date = |name| match self.argument(field, name) {
            Some(Value::String(text)) => text.parse::<chrono::NaiveDate>().ok(),
            _ => None,
        };
        let longest = u64::from(self.limits.days);
        match (date("from"), date("to")) {
            (Some(from), Some(to)) => u64::try_from((to - from).num_days()).map_or(1, |days| (days + 1).min(longest)),
            _ => longest,
        }
    }

    /// Whether the field is answered from the log instead of a read model.
    fn asks_for_past(&self, field: &Field) -> bool {
        let given = |name| self.argument(field, name).is_some_and(|value| value != Value::Null);
        field.name.node == "order" && plan::HISTORY_ARGUMENTS.into_iter().any(given)
    }

    fn argument(&self, field: &Field, name: &str) -> Option<Value> {
        let literal = field.get_argument(name)?.node.clone();
        literal
            .into_const_with(|variable| self.variable(&variable).ok_or(()))
            .ok()
    }

    fn variable(&self, name: &Name) -> Option<Value> {
        self.question.variables.get(name).cloned().or_else(|| {
            let mut definitions = self.operation.variable_definitions.iter();
            definitions
                .find(|definition| definition.node.name.node == *name)?
                .node
                .default_value()
                .cloned()
        })
    }
}

fn directives(directives: &[Positioned<Directive>]) -> Weight {
    Weight {
        directives: u64::try_from(directives.len()).unwrap_or(u64::MAX),
        ..Weight::default()
    }
}

#[cfg(test)]
mod tests;
