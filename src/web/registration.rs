//! The page that shows a registration link to its user, and the route that reports to that page
//! whether the phone has registered.

use axum::extract::{Request, State};
use axum::http::header::{REFERRER_POLICY, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use qrcode::QrCode;
use qrcode::render::svg;

use super::json::status_json;
use super::pages::{language_of, render};
use super::{cookies, redirect};
use crate::Secret;
use crate::engine::{Activeconnect, RegistrationLink, RegistrationProgress};
use crate::layer::{ClientContext, ResponseFormat, SitePaths, registration_cookie};
use crate::pages::{LanguageChoice, PageError, PageWait, RegistrationFacts};

impl RegistrationLink {
    /// The link as a QR code for the phone: an `<svg>` element for a page, which needs the same
    /// headers as a page with the link itself. The code contains the link, so it is a secret. `None`
    /// if the link is too long for a QR code.
    #[must_use]
    pub fn qr_svg(&self) -> Option<Secret> {
        let code = QrCode::new(self.expose()).ok()?;
        let image = Secret::new(code.render::<svg::Color<'_>>().min_dimensions(240, 240).build());
        // HTML has no XML declaration.
        let (_, svg) = image.expose().split_once("?>")?;
        Some(Secret::new(svg))
    }

    /// Sets the redirect target of the page once the phone has registered: a path of this site
    /// outside [`auth_path`](crate::ActiveconnectBuilder::auth_path), up to 2,048 bytes. Otherwise,
    /// and by default, the page redirects to the application's home page.
    #[must_use]
    pub fn next(mut self, path: impl Into<String>) -> Self {
        self.next = Some(path.into());
        self
    }

    /// The page as the response to this request: in the language of the request, under the prefix
    /// that a trusted proxy reports to have stripped.
    ///
    /// The page shows the link, its QR code and a button that copies the link. It waits for the phone
    /// for ten minutes, and redirects to [`next`](RegistrationLink::next) once the phone has
    /// registered. It waits only if the user had no phone when the link was made, or has lost it: the
    /// service reports whether a user has a phone, not how many. The page for a further phone has a
    /// button that continues instead.
    ///
    /// A cookie identifies the page, so that no other browser learns of the phone. Of several such
    /// pages in one browser, the newest waits.
    ///
    /// ```
    /// use axum::extract::State;
    /// use axum::http::StatusCode;
    /// use axum::http::request::Parts;
    /// use axum::response::Response;
    /// use tower_activeconnect::{ActiveSession, Activeconnect};
    ///
    /// /// `POST /phone`, behind the gate.
    /// async fn another_phone(
    ///     State(ac): State<Activeconnect>,
    ///     session: ActiveSession,
    ///     request: Parts,
    /// ) -> Result<Response, StatusCode> {
    ///     let link = ac.registration_link(&session).display_name("Alice").await;
    ///     let link = link.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    ///     Ok(link.next("/settings").response_to(&request))
    /// }
    /// ```
    #[must_use]
    pub fn response_to(self, request: &Parts) -> Response {
        let settings = &self.engine.config;
        let paths = SitePaths::from_parts(request, settings);
        self.page(&paths, language_of(request, settings))
    }

    fn page(&self, paths: &SitePaths, language: LanguageChoice) -> Response {
        let engine = &self.engine;
        let names = &engine.config.cookie_names;
        // If the random number generator fails, the page is shown but does not wait.
        let pending = self
            .is_first_phone
            .then(|| engine.await_registration(self.token.clone(), self.next.clone()).ok())
            .flatten();
        let now = engine.now();
        let facts = RegistrationFacts {
            name: self.shown_name(),
            link: self.expose(),
            qr_code: self.qr_svg(),
            next: redirect::sanitize_next(self.next.as_deref(), paths),
            wait: pending.as_ref().map(|(_, until)| PageWait {
                until_unix_ms: until.wall.as_millis(),
                left_ms: until.mono.since(now.mono).as_millis(),
            }),
        };
        let view = engine.config.pages.view(paths, language);
        let mut response = render(StatusCode::OK, view.registration(facts));
        let headers = response.headers_mut();
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        if let Some((page, _)) = &pending {
            headers.append(SET_COOKIE, cookies::set_registration(names, page));
        }
        response
    }
}

/// A page with the link and its QR code, which caches do not store and which sends no `Referer`.
/// It is in the language of
/// [`ActiveconnectBuilder::language`](crate::ActiveconnectBuilder::language) and under the prefix of
/// [`ActiveconnectBuilder::mount_prefix`](crate::ActiveconnectBuilder::mount_prefix), because the
/// request is not known. [`response_to`](RegistrationLink::response_to) uses the request.
impl IntoResponse for RegistrationLink {
    fn into_response(self) -> Response {
        let settings = &self.engine.config;
        let paths = SitePaths::new(None, settings);
        self.page(&paths, settings.pages.default_language())
    }
}

/// `GET registration`: reports to the browser that shows a link whether the phone has registered. It
/// has no side effects, so that retries and prefetches are safe.
pub(super) async fn progress(State(ac): State<Activeconnect>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let engine = ac.engine();
    let settings = &engine.config;
    let key = registration_cookie(&parts.headers, &settings.cookie_names, &engine.key_ring);
    let page = key.and_then(|key| engine.enrollment.registrations.find(&key, engine.now()));
    let progress = match &page {
        Some(page) => engine.registration_progress(page).await,
        None => RegistrationProgress::NoneWaits,
    };
    let (method, uri, headers) = (&parts.method, &parts.uri, &parts.headers);
    let client = ClientContext::from_request(method, uri, headers, &parts.extensions, settings);
    if !matches!(client.format, ResponseFormat::HtmlRedirect(_)) {
        return status_json(match progress {
            RegistrationProgress::Pending => "pending",
            RegistrationProgress::Registered => "registered",
            RegistrationProgress::NoneWaits => "none",
        });
    }
    let paths = client.paths(settings);
    let view = settings.pages.view(&paths, language_of(&parts, settings));
    match (progress, page) {
        (RegistrationProgress::Registered, Some(page)) => {
            Redirect::to(&redirect::sanitize_next(page.next.as_deref(), &paths)).into_response()
        }
        (RegistrationProgress::Pending, Some(page)) => {
            let now = engine.now();
            let wait = PageWait {
                until_unix_ms: page.expires.wall.as_millis(),
                left_ms: page.expires.mono.since(now.mono).as_millis(),
            };
            render(StatusCode::OK, view.registering(wait))
        }
        (RegistrationProgress::NoneWaits, _) | (_, None) => {
            let status = StatusCode::BAD_REQUEST;
            let login = paths.with_next("login", &paths.home());
            render(
                status,
                view.error(status.as_u16(), PageError::NoPendingRegistration, Some(login)),
            )
        }
    }
}
