//! A gate that rejects requests for its own login: no user could log in, and a redirect to the
//! login would go round in a circle. The developer gets the mistake in words instead.

use http::uri::PathAndQuery;
use http::{Extensions, Uri};

use super::original_uri::original_uri;
use super::site_paths::SitePaths;
use crate::engine::{Engine, SeenRoutes};

/// The routes of `Activeconnect::routes`, without the assets.
const LOGIN_ROUTES: [&str; 12] = [
    "login",
    "waiting",
    "confirm",
    "locked",
    "status",
    "events",
    "registration",
    "verify",
    "logout",
    "sessions",
    "sessions/end",
    "sessions/end-others",
];

/// Whether the path of a rejected request is one of the login's routes, which must not be gated.
/// Where nothing strips the prefix, the path has it already.
pub(super) fn is_login_route(uri: &Uri, extensions: &Extensions, paths: &SitePaths) -> bool {
    // A proxy that strips a prefix may leave an extra slash.
    let path = original_uri(uri, extensions).path().trim_start_matches('/');
    let path = format!("/{path}");
    let is_route = |path: &str| {
        let route = path.strip_prefix(paths.auth.as_str());
        let route = route.and_then(|route| route.strip_prefix('/'));
        route.is_some_and(|route| LOGIN_ROUTES.contains(&route) || route.starts_with("assets/"))
    };
    is_route(&path) || is_route(&paths.requested(&path))
}

/// Whether a redirect from `page` to `location` would go round in a circle: the gate redirects to a
/// page that is behind the gate.
pub(super) fn is_same_page(location: &str, page: Option<&PathAndQuery>, paths: &SitePaths) -> bool {
    let location = path_of(location);
    page.map(PathAndQuery::path)
        .is_some_and(|path| path == location || paths.requested(path) == location)
}

pub(super) fn path_of(location: &str) -> &str {
    location.split_once('?').map_or(location, |(path, _)| path)
}

/// The mistake that keeps users from `page`, in words for the developer. Logs it, too.
pub(super) fn report_gated_login(page: &str, paths: &SitePaths, engine: &Engine) -> String {
    let auth_path = &engine.config.auth_path;
    let is_own_page =
        page.strip_prefix(paths.auth.as_str()).is_none_or(|route| !route.starts_with('/'));
    let mistake = if is_own_page {
        format!(
            "{page} is a page of the application to which the layer sends users, and it is behind \
             that layer: add its route after .layer(ac.layer())"
        )
    } else {
        match engine.route_placement.seen() {
            SeenRoutes::NotMade { .. } => format!(
                "the login routes are forgotten: add .nest({auth_path:?}, ac.routes()) after \
                 .layer(ac.layer())"
            ),
            SeenRoutes::Elsewhere(nested_at) => format!(
                "the login routes are nested at {nested_at:?}, and ActiveconnectBuilder::auth_path is \
                 {auth_path:?}: nest Activeconnect::routes() there, or set auth_path to where they \
                 are"
            ),
            SeenRoutes::NotSeen | SeenRoutes::AtAuthPath => format!(
                "the login routes are behind the layer, or not nested at {auth_path:?}, which is \
                 ActiveconnectBuilder::auth_path: add .nest({auth_path:?}, ac.routes()) after .layer(ac.layer()), \
                 on the outermost router; ActiveconnectBuilder::mount_prefix is only for a prefix that a proxy \
                 strips"
            ),
        }
    };
    engine.warnings.report_gated_login(page, &mistake, engine.now().mono);
    mistake
}
