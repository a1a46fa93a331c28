//! The rules as `cqrs-es` aggregates. Nothing is decided here.

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;

use crate::AggregateType;
use crate::establishment::{self, Establishment, EstablishmentCommand, EstablishmentError, EstablishmentEvent};
use crate::order::{self, Order, OrderCommand, OrderError, OrderEvent};
use crate::product::{self, Product, ProductCommand, ProductError, ProductEvent};

macro_rules! aggregate {
    ($aggregate:ident, $kind:ident, $command:ty, $event:ty, $error:ty, $decide:path) => {
        impl Aggregate for $aggregate {
            const TYPE: &'static str = AggregateType::$kind.as_str();
            type Command = $command;
            type Event = $event;
            type Error = $error;
            type Services = ();

            async fn handle(
                &mut self,
                command: Self::Command,
                _: &Self::Services,
                sink: &EventSink<Self>,
            ) -> Result<(), Self::Error> {
                for event in $decide(self, command)? {
                    sink.write(event, self).await;
                }
                Ok(())
            }

            fn apply(&mut self, event: Self::Event) {
                self.evolve(&event);
            }
        }
    };
}

aggregate!(Order, Order, OrderCommand, OrderEvent, OrderError, order::decide);
aggregate!(
    Product,
    Product,
    ProductCommand,
    ProductEvent,
    ProductError,
    product::decide
);
aggregate!(
    Establishment,
    Establishment,
    EstablishmentCommand,
    EstablishmentEvent,
    EstablishmentError,
    establishment::decide
);
