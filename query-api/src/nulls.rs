//! Nulls where fields failed.
//!
//! async-graphql leaves a failed field out of the answer, whatever its type. The specification wants
//! null there where the field's type allows it, and otherwise in the nearest place around it that
//! does, up to `data` itself; clients with generated types depend on it. Answers without errors,
//! nearly all, never come here.

use std::collections::HashMap;

use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{
    BaseType, ExecutableDocument, Selection, SelectionSet, Type, TypeKind, TypeSystemDefinition,
};
use async_graphql::{Name, PathSegment, Positioned, ServerError, Value};

/// The type of every field of the schema, by its type's name and its own.
#[derive(Debug, Default)]
pub(crate) struct FieldTypes(HashMap<String, HashMap<String, Type>>);

/// Selection sets with the type they select from.
type Selections<'d> = Vec<(String, &'d SelectionSet)>;

impl FieldTypes {
    pub(crate) fn of(sdl: &str) -> Self {
        let mut types = HashMap::new();
        // Our own schema, which a test holds to be readable.
        let definitions = parse_schema(sdl)
            .map(|document| document.definitions)
            .unwrap_or_default();
        for definition in definitions {
            let TypeSystemDefinition::Type(Positioned { node: definition, .. }) = definition else {
                continue;
            };
            let fields = match definition.kind {
                TypeKind::Object(object) => object.fields,
                TypeKind::Interface(interface) => interface.fields,
                TypeKind::Scalar | TypeKind::Union(_) | TypeKind::Enum(_) | TypeKind::InputObject(_) => continue,
            };
            let fields = fields
                .into_iter()
                .map(|field| (field.node.name.node.to_string(), field.node.ty.node));
            types.insert(definition.name.node.to_string(), fields.collect());
        }
        Self(types)
    }

    /// Puts null in `data` for every failed field. `operation` is the one that ran.
    pub(crate) fn settle(
        &self,
        document: &ExecutableDocument,
        operation: &SelectionSet,
        data: &mut Value,
        errors: &[ServerError],
    ) {
        for error in errors {
            match self.place_of_null(document, operation, &error.path) {
                Some(place) => put_null(data, place),
                None => *data = Value::Null,
            }
        }
    }

    /// The innermost place on the path of a failure that may be null; `None` where none may.
    fn place_of_null<'p>(
        &self,
        document: &ExecutableDocument,
        operation: &SelectionSet,
        path: &'p [PathSegment],
    ) -> Option<&'p [PathSegment]> {
        let mut selections: Selections<'_> = vec![("Query".to_owned(), operation)];
        let mut current: Option<Type> = None;
        let mut place = None;
        for (index, segment) in path.iter().enumerate() {
            let found = match segment {
                PathSegment::Field(key) => {
                    let (found, below) = self.field(document, &selections, key)?;
                    selections = below;
                    found
                }
                PathSegment::Index(_) => match current?.base {
                    BaseType::List(element) => *element,
                    BaseType::Named(_) => return None,
                },
            };
            if found.nullable {
                place = Some(&path[..=index]);
            }
            current = Some(found);
        }
        place
    }

    /// The type of the field that answers under `key`, and everything selected below it.
    fn field<'d>(
        &self,
        document: &'d ExecutableDocument,
        selections: &Selections<'d>,
        key: &str,
    ) -> Option<(Type, Selections<'d>)> {
        let mut fields = Vec::new();
        for (parent, selection) in selections {
            collect(document, parent, selection, key, &mut fields);
        }
        let mut found = None;
        let mut below = Vec::new();
        for (parent, field) in fields {
            let Some(ty) = self
                .0
                .get(parent)
                .and_then(|fields| fields.get(field.name.node.as_str()))
            else {
                continue;
            };
            below.push((base(ty).to_owned(), &field.selection_set.node));
            found.get_or_insert_with(|| ty.clone());
        }
        Some((found?, below))
    }
}

/// The fields that answer under `key`, with the type each is selected from.
fn collect<'d, 'p>(
    document: &'d ExecutableDocument,
    parent: &'p str,
    selection: &'d SelectionSet,
    key: &str,
    fields: &mut Vec<(&'p str, &'d async_graphql::parser::types::Field)>,
) where
    'd: 'p,
{
    for item in &selection.items {
        match &item.node {
            Selection::Field(field) => {
                if field.node.response_key().node == key {
                    fields.push((parent, &field.node));
                }
            }
            Selection::InlineFragment(fragment) => {
                let on = fragment
                    .node
                    .type_condition
                    .as_ref()
                    .map_or(parent, |on| on.node.on.node.as_str());
                collect(document, on, &fragment.node.selection_set.node, key, fields);
            }
            Selection::FragmentSpread(spread) => {
                if let Some(fragment) = document.fragments.get(&spread.node.fragment_name.node) {
                    let on = fragment.node.type_condition.node.on.node.as_str();
                    collect(document, on, &fragment.node.selection_set.node, key, fields);
                }
            }
        }
    }
}

fn base(ty: &Type) -> &str {
    match &ty.base {
        BaseType::Named(name) => name.as_str(),
        BaseType::List(element) => base(element),
    }
}

/// Sets the place to null, unless something around it is null already.
fn put_null(data: &mut Value, place: &[PathSegment]) {
    let Some((last, around)) = place.split_last() else {
        return;
    };
    let mut current = data;
    for segment in around {
        let next = match (segment, current) {
            (PathSegment::Field(key), Value::Object(fields)) => fields.get_mut(key.as_str()),
            (PathSegment::Index(index), Value::List(elements)) => elements.get_mut(*index),
            _ => None,
        };
        match next {
            Some(next) => current = next,
            None => return,
        }
    }
    match (last, current) {
        (PathSegment::Field(key), Value::Object(fields)) => {
            fields.insert(Name::new(key), Value::Null);
        }
        // Where all of an object's fields failed nothing is left of it.
        (PathSegment::Field(key), nothing @ Value::Null) if around.is_empty() => {
            *nothing = Value::Object(std::iter::once((Name::new(key), Value::Null)).collect());
        }
        (PathSegment::Index(index), Value::List(elements)) => {
            if let Some(element) = elements.get_mut(*index) {
                *element = Value::Null;
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_graphql::parser::parse_query;
    use async_graphql::value;

    const SDL: &str = "type Query { a: A!  maybe: A  list: [A]  strict: [A!] }
                       interface Node { id: ID! }
                       type A implements Node { id: ID!  name: String  inner: A!  soft: A }";

    fn settled(query: &str, mut data: Value, path: &[&str]) -> Value {
        let document = parse_query(query).unwrap();
        let segments = path.iter().map(|text| match text.parse() {
            Ok(index) => PathSegment::Index(index),
            Err(_) => PathSegment::Field((*text).to_owned()),
        });
        let mut error = ServerError::new("failed", None);
        error.path = segments.collect();
        let (_, operation) = document.operations.iter().next().unwrap();
        FieldTypes::of(SDL).settle(&document, &operation.node.selection_set.node, &mut data, &[error]);
        data
    }

    #[test]
    fn given_a_nullable_field_then_it_is_null() {
        let data = settled(
            "{ maybe { id } a { name id } }",
            value!({ "a": { "name": "x" } }),
            &["maybe"],
        );
        assert_eq!(data, value!({ "a": { "name": "x" }, "maybe": null }));
        assert_eq!(
            settled("{ maybe { id } }", Value::Null, &["maybe"]),
            value!({ "maybe": null })
        );
        let data = settled("{ a { n: name id } }", value!({ "a": { "id": 1 } }), &["a", "n"]);
        assert_eq!(data, value!({ "a": { "id": 1, "n": null } }));
    }

    #[test]
    fn given_a_field_that_must_not_be_null_then_the_nearest_place_that_may_is() {
        let query = "{ maybe { inner { ...F } soft { id } } list { id } strict { id } a { id } } fragment F on Node { ... on A { id } }";
        let all = || value!({ "maybe": { "inner": {}, "soft": {} }, "list": [{}, {}], "strict": [{}, {}], "a": {} });
        let at = |path: &[&str]| settled(query, all(), path);
        assert_eq!(
            at(&["maybe", "soft", "id"]),
            value!({ "maybe": { "inner": {}, "soft": null }, "list": [{}, {}], "strict": [{}, {}], "a": {} })
        );
        assert_eq!(
            at(&["maybe", "inner", "id"]),
            value!({ "maybe": null, "list": [{}, {}], "strict": [{}, {}], "a": {} })
        );
        assert_eq!(
            at(&["list", "1", "id"]),
            value!({ "maybe": { "inner": {}, "soft": {} }, "list": [{}, null], "strict": [{}, {}], "a": {} })
        );
        assert_eq!(
            at(&["strict", "1", "id"]),
            value!({ "maybe": { "inner": {}, "soft": {} }, "list": [{}, {}], "strict": null, "a": {} })
        );
        assert_eq!(at(&["a", "id"]), Value::Null);
        assert_eq!(at(&["a"]), Value::Null);
    }

    #[test]
    fn given_our_own_schema_then_every_field_has_its_type() {
        let types = FieldTypes::of(&crate::sdl());
        assert!(types.0["Query"]["order"].nullable);
        assert!(!types.0["Query"]["orders"].nullable);
        assert!(!types.0["OrderConnection"]["nodes"].nullable);
    }
}
