//! HTTP: routes, authorisation, errors to status in one place, OpenAPI.
