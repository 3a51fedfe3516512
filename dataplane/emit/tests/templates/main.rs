//! The template language from outside: its cases, and a naive interpreter that must agree with it.

mod language;
mod model;
mod sample;
