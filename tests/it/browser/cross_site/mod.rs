//! Attacks by pages of other origins in the victim's browser (Chromium).

mod cookies;
mod fixture;
mod forgery;
mod legitimate_use;
mod reading;
