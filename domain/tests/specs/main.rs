//! The rules, each as Given / When / Then; properties over any commands; stored payloads for ever.

mod establishment;
mod golden;

mod order_placing;
mod order_pricing;
mod order_status;
mod product;
mod properties;
mod support;
mod values;
