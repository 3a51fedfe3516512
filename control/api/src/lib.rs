//! REST under `/api/v1`: one file per resource; what the outside calls things stops here.

pub mod dataplane;
