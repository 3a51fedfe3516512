//! The OpenAPI 3.1 document, generated from the handlers, and how it is read.

use crate::problem::Problem;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi, ToResponse};

/// Why it was not done: problem details (RFC 9457).
#[derive(ToResponse)]
#[response(content_type = "application/problem+json")]
#[allow(dead_code, reason = "it only describes")]
pub(crate) struct Failed(#[to_schema] Problem);

/// What the handlers do not say.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Trunkline",
        description = "Configures a Trunkline and says how it is going. Every write is stored before it is answered: \
            201, 200 or 204 say that it is in force on every shard of the dataplane, 202 that it is stored and pending \
            (also the header `trunkline-applied`, and `applied` in the body). JSON is strict: unknown fields are \
            refused. Things of other tenants do not exist (404). Lists have `limit` and `after`.",
    ),
    components(responses(Failed), schemas(crate::import::FailedRow, crate::import::Summary)),
    modifiers(&Bearer),
    security(("key" = [])),
    tags(
        (name = "tenants", description = "Organisations"),
        (name = "api-keys", description = "Who may do what"),
        (name = "applications", description = "Sets of devices"),
        (name = "profiles", description = "Kinds of devices"),
        (name = "devices", description = "LoRaWAN end devices"),
        (name = "downlinks", description = "Commands to devices"),
        (name = "gateways", description = "LoRaWAN gateways"),
        (name = "streams", description = "Standing, two-way taps"),
        (name = "events", description = "What happened lately"),
        (name = "settings", description = "What holds for the whole"),
        (name = "status", description = "How it is going"),
    ),
)]
pub(crate) struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("An API key.")).build();
        if let Some(components) = document.components.as_mut() {
            components.add_security_scheme("key", SecurityScheme::Http(scheme));
        }
    }
}

/// Gives every operation an id of its own, as OpenAPI asks: what it is about, then what its handler is called.
pub(crate) fn name_operations(document: &mut utoipa::openapi::OpenApi) {
    for (path, item) in &mut document.paths.paths {
        let about = path.trim_start_matches("/api/v1/").replace('-', "_");
        let about: Vec<_> = about.split('/').filter(|part| !part.starts_with('{')).collect();
        let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.patch, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            let handler = operation.operation_id.take().unwrap_or_default();
            let mut words = about.clone();
            if words.last() != Some(&handler.as_str()) {
                words.push(&handler);
            }
            operation.operation_id = Some(words.join("_"));
        }
    }
}
