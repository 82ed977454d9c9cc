use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Where the application has put the layer and the routes, as far as is known.
#[derive(Debug, Default)]
pub(crate) struct RoutePlacement {
    has_layer: AtomicBool,
    has_routes: AtomicBool,
    at_auth_path: AtomicBool,
    elsewhere: OnceLock<Box<str>>,
}

/// Where the login routes are, as far as requests have shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SeenRoutes<'a> {
    /// `Activeconnect::routes` was not called; whether a layer was made.
    NotMade {
        has_layer: bool,
    },
    /// No request has reached the routes.
    NotSeen,
    AtAuthPath,
    /// Under this path, and never under `auth_path`.
    Elsewhere(&'a str),
}

impl RoutePlacement {
    pub(crate) fn note_layer(&self) {
        self.has_layer.store(true, Ordering::Relaxed);
    }

    pub(crate) fn note_routes(&self) {
        self.has_routes.store(true, Ordering::Relaxed);
    }

    /// Whether requests have shown that the routes are where they should be.
    pub(crate) fn is_settled(&self) -> bool {
        self.at_auth_path.load(Ordering::Relaxed)
    }

    /// A request came to a route under this path.
    pub(crate) fn note_request(&self, nested_at: &str, is_auth_path: bool) {
        if is_auth_path {
            self.at_auth_path.store(true, Ordering::Relaxed);
        } else {
            self.elsewhere.get_or_init(|| nested_at.into());
        }
    }

    pub(crate) fn seen(&self) -> SeenRoutes<'_> {
        if !self.has_routes.load(Ordering::Relaxed) {
            return SeenRoutes::NotMade { has_layer: self.has_layer.load(Ordering::Relaxed) };
        }
        if self.is_settled() {
            return SeenRoutes::AtAuthPath;
        }
        self.elsewhere.get().map_or(SeenRoutes::NotSeen, |path| SeenRoutes::Elsewhere(path))
    }
}
