//! What people see: files, looks and languages of the pages, and how they are in a browser.

mod assets;
mod fixture;
mod in_chromium;
mod languages;
mod looks;
mod own_pages;
mod registration;
mod sessions;
mod states;
