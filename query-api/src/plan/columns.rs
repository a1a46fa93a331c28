//! Columns as types, and which field of the schema needs which of them.

use async_graphql::Lookahead;

/// A column of a read model's table.
pub(crate) trait Column: Copy + PartialEq + 'static {
    /// Columns that identify and order the rows; always read, and first.
    const KEY: &'static [Self];

    fn sql(self) -> &'static str;

    /// The columns that a field of the row's GraphQL type is made of.
    fn of_field(field: &str) -> &'static [Self];
}

/// The columns a statement reads, each once, in reading order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Columns<C>(Vec<C>);

impl<C: Column> Default for Columns<C> {
    fn default() -> Self {
        Self(C::KEY.to_vec())
    }
}

impl<C: Column> Columns<C> {
    pub(crate) fn add(&mut self, column: C) {
        if !self.0.contains(&column) {
            self.0.push(column);
        }
    }

    /// Adds what the fields selected below `row` need.
    pub(crate) fn add_selected(&mut self, row: &Lookahead<'_>) {
        for field in super::selected(row) {
            self.add_field(field.name());
        }
    }

    pub(crate) fn add_field(&mut self, field: &str) {
        for &column in C::of_field(field) {
            self.add(column);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = C> {
        self.0.iter().copied()
    }

    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.iter().map(C::sql).collect()
    }

    /// As a select list over the alias `page`.
    pub(crate) fn select(&self) -> String {
        self.names()
            .iter()
            .map(|name| format!("page.{name}"))
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// Declares the columns of one table and the fields made of them.
macro_rules! columns {
    (
        $(#[$doc:meta])*
        $name:ident { $($column:ident = $sql:literal,)* }
        key { $($key:ident),* }
        fields { $($($field:literal)|+ => [$($needs:ident),*],)* }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum $name { $($column,)* }

        impl Column for $name {
            const KEY: &'static [Self] = &[$(Self::$key),*];

            fn sql(self) -> &'static str {
                match self { $(Self::$column => $sql,)* }
            }

            fn of_field(field: &str) -> &'static [Self] {
                match field {
                    $($($field)|+ => &[$(Self::$needs),*],)*
                    _ => &[],
                }
            }
        }
    };
}

columns! {
    /// Of the read model `orders`.
    OrderColumn {
        OrderId = "order_id",
        EstablishmentId = "establishment_id",
        Number = "number",
        BusinessDate = "business_date",
        Reference = "reference",
        Status = "status",
        ServiceType = "service_type",
        Channel = "channel",
        TableId = "table_id",
        Currency = "currency",
        Subtotal = "subtotal",
        Discount = "discount",
        Tax = "tax",
        Tip = "tip",
        Total = "total",
        ItemCount = "item_count",
        Items = "items",
        CustomerId = "customer_id",
        CustomerName = "customer_name",
        CustomerContact = "customer_contact",
        Note = "note",
        PlacedAt = "placed_at",
        UpdatedAt = "updated_at",
        Version = "version",
    }
    key { OrderId, PlacedAt }
    fields {
        "number" => [Number],
        "reference" => [Reference],
        "businessDate" => [BusinessDate],
        "establishmentId" => [EstablishmentId],
        "status" => [Status],
        "serviceType" => [ServiceType],
        "channel" => [Channel],
        "tableId" => [TableId],
        "subtotal" => [Subtotal, Currency],
        "discount" => [Discount, Currency],
        "tax" => [Tax, Currency],
        "tip" => [Tip, Currency],
        "total" => [Total, Currency],
        "itemCount" => [ItemCount],
        "items" => [Items, Currency],
        "customer" => [CustomerId, CustomerName, CustomerContact],
        "note" => [Note],
        "updatedAt" => [UpdatedAt],
        "version" => [Version],
    }
}

columns! {
    /// Of the read model `order_timeline`.
    EntryColumn {
        OrderId = "order_id",
        Sequence = "sequence",
        EventType = "event_type",
        FromStatus = "from_status",
        Status = "status",
        Reason = "reason",
        Actor = "actor",
        OccurredAt = "occurred_at",
        RecordedAt = "recorded_at",
    }
    key { OrderId, Sequence }
    fields {
        "type" => [EventType],
        "fromStatus" => [FromStatus],
        "status" => [Status],
        "reason" => [Reason],
        "actor" => [Actor],
        "occurredAt" => [OccurredAt],
        "recordedAt" => [RecordedAt],
    }
}

columns! {
    /// Of the read model `products`.
    ProductColumn {
        ProductId = "product_id",
        EstablishmentId = "establishment_id",
        Name = "name",
        Category = "category",
        Price = "price",
        Currency = "currency",
        Available = "available",
        Modifiers = "modifiers",
        Version = "version",
        UpdatedAt = "updated_at",
    }
    key { ProductId }
    fields {
        "establishmentId" => [EstablishmentId],
        "name" => [Name],
        "category" => [Category],
        "price" => [Price, Currency],
        "available" => [Available],
        "modifiers" => [Modifiers, Currency],
        "version" => [Version],
        "updatedAt" => [UpdatedAt],
    }
}

columns! {
    /// Of the read model `establishments`.
    EstablishmentColumn {
        EstablishmentId = "establishment_id",
        Name = "name",
        TimeZone = "time_zone",
        Currency = "currency",
        TaxMode = "tax_mode",
        TaxRatePpm = "tax_rate_ppm",
        Kind = "kind",
        Version = "version",
        UpdatedAt = "updated_at",
    }
    key { EstablishmentId }
    fields {
        "name" => [Name],
        "timeZone" => [TimeZone],
        "currency" => [Currency],
        "taxMode" => [TaxMode],
        "taxRatePpm" => [TaxRatePpm],
        "kind" => [Kind],
        "version" => [Version],
        "updatedAt" => [UpdatedAt],
    }
}
