//! Pages of other origins in the victim's own browser, a real one, and what they get: nothing.

mod cookies;
mod forgery;
mod honest;
mod reading;
mod stage;
