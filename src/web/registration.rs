//! The page that shows a registration link to the user it is for.

use axum::http::header::REFERRER_POLICY;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use qrcode::QrCode;
use qrcode::render::svg;

use super::pages::show;
use crate::Secret;
use crate::engine::RegistrationLink;
use crate::layer::SitePaths;

impl RegistrationLink {
    /// The link as a QR code for the phone: an `<svg>` element to be put into a page, which needs
    /// the same headers as the link itself. A secret, as the link is in it; `None` if the link is
    /// too long for one.
    #[must_use]
    pub fn qr_svg(&self) -> Option<Secret> {
        let code = QrCode::new(self.expose()).ok()?;
        let image = Secret::new(code.render::<svg::Color<'_>>().min_dimensions(240, 240).build());
        // Inside HTML there is no XML declaration.
        let (_, svg) = image.expose().split_once("?>")?;
        Some(Secret::new(svg))
    }
}

/// A page with the link and its QR code, kept by no cache and told to no other site. As no request is
/// known, it is in the language of [`Builder::language`](crate::Builder::language), and under the
/// prefix of [`Builder::mount_prefix`](crate::Builder::mount_prefix).
impl IntoResponse for RegistrationLink {
    fn into_response(self) -> Response {
        let settings = &self.engine.settings;
        let paths = SitePaths::new(None, settings);
        let view = settings.pages.view(&paths, settings.pages.default_language());
        let page = view.registration(self.user().as_str(), self.expose(), self.qr_svg());
        let mut response = show(StatusCode::OK, page);
        let headers = response.headers_mut();
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        response
    }
}
