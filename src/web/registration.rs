//! The page that shows a registration link to the user it is for.

use askama::Template;
use axum::http::header::REFERRER_POLICY;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use qrcode::QrCode;
use qrcode::render::svg;

use super::pages::show;
use crate::Secret;
use crate::engine::RegistrationLink;
use crate::identity::UserId;

#[derive(Template)]
#[template(path = "registration.html")]
struct RegistrationPage<'a> {
    user: &'a UserId,
    link: &'a str,
    qr_code: Option<Secret>,
}

impl RegistrationPage<'_> {
    /// Whether the link may be one to click on: what the service sends is not taken for a script.
    fn is_web_link(&self) -> bool {
        self.link.starts_with("https://") || self.link.starts_with("http://")
    }
}

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

/// A plain page with the link and its QR code, kept by no cache and told to no other site.
impl IntoResponse for RegistrationLink {
    fn into_response(self) -> Response {
        let page =
            RegistrationPage { user: self.user(), link: self.expose(), qr_code: self.qr_svg() };
        let mut response = show(StatusCode::OK, &page);
        let headers = response.headers_mut();
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        response
    }
}
