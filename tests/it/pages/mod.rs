//! The HTML pages: files, themes, languages, behavior in a browser.

mod assets;
mod fixture;
mod in_chromium;
mod languages;
mod own_pages;
mod registration;
mod sessions;
mod states;
mod theme;
