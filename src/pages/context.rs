//! What a page shows, ready for a template: every text is in the person's language, every address
//! is one of this site or of the theme.

use crate::Secret;

/// What all pages share.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Layout {
    /// The title of the document.
    pub title: String,
    /// The language, for `<html lang>`.
    pub lang: String,
    /// The direction of the language, `ltr` or `rtl`, for `<html dir>`.
    pub dir: &'static str,
    /// [`Theme::app_name`](crate::pages::Theme::app_name).
    pub app_name: Option<String>,
    /// The address of the [logo](crate::pages::Theme::logo).
    pub logo: Option<String>,
    /// The address of what a tab shows: the logo, or an icon of the crate's.
    pub icon: String,
    /// The addresses of the style sheets, in their order: the crate's, then the
    /// [application's](crate::pages::Theme::custom_css).
    pub style_sheets: Vec<String>,
    /// The address of a script that each page should load, so that a browser does not show it again
    /// after the session has ended.
    pub script: String,
    /// [`Theme::support_url`](crate::pages::Theme::support_url).
    pub support: Option<Link>,
    /// [`Theme::privacy_url`](crate::pages::Theme::privacy_url).
    pub privacy: Option<Link>,
}

/// A link, or a button that leads somewhere.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Link {
    /// The address.
    pub url: String,
    /// The text.
    pub text: String,
}

/// `GET login`: asks who wants to log in. Its form posts `username`, unless a user is known, and
/// `next` to `action`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LoginPage {
    /// What all pages share.
    pub layout: Layout,
    /// The heading.
    pub heading: String,
    /// Why a login may fail, if there is a reason to expect it.
    pub warning: Option<String>,
    /// The user that another login names, and the text before the name. Nothing is typed then.
    pub known_user: Option<KnownUser>,
    /// The label of the field for the user name.
    pub username_label: String,
    /// Where the form posts to.
    pub action: String,
    /// The value of the hidden field `next`: where the login leads.
    pub next: String,
    /// The text of the button.
    pub submit: String,
    /// [`Theme::sign_up_url`](crate::pages::Theme::sign_up_url).
    pub sign_up: Option<Link>,
}

/// A user that a page names.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KnownUser {
    /// What is said of the user, before the name.
    pub lead: String,
    /// The application's id of the user. It may be written in another direction than the page, so
    /// put it into a `<bdi>`.
    pub name: String,
}

/// `GET waiting`: a login waits for the phone, or is over.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WaitingPage {
    /// What all pages share.
    pub layout: Layout,
    /// The heading.
    pub heading: String,
    /// What to do now.
    pub lead: String,
    /// The login that waits; `None` when it is over. It is the same whether the user exists or not.
    pub login: Option<PendingLogin>,
    /// The heading of the help.
    pub help_heading: String,
    /// What to do if nothing comes to the phone.
    pub help: Vec<String>,
    /// Where to begin anew.
    pub start_again: Link,
}

/// A login that waits for the phone.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PendingLogin {
    /// The label of the name.
    pub name_label: String,
    /// The name as it was typed, or the user's id. It may be written in another direction than the
    /// page, so put it into a `<bdi>`.
    pub name: String,
    /// The label of the site.
    pub site_label: String,
    /// The host of this site, as the phone's owner knows it.
    pub site: String,
    /// The label of the time of the start.
    pub started_label: String,
    /// When the login began, in Unix milliseconds: a script makes it the reader's local time.
    pub started_unix_ms: u64,
    /// The time of day of that, in UTC, for those without scripts.
    pub started: String,
    /// The label of the time that is left.
    pub time_left_label: String,
    /// How many seconds are left.
    pub seconds_left: u64,
    /// The same in minutes and seconds, for those without scripts.
    pub time_left: String,
    /// The advice to decline what does not match.
    pub decline: String,
    /// What is shown once the phone has approved.
    pub approved: String,
    /// What to do where no script runs.
    pub lead_without_script: String,
    /// This page's own address, and the text of a button that loads it where no script runs.
    pub go_on: Link,
    /// How a script follows the login.
    pub follow: Follow,
}

/// Where a script learns how a login or a session is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Follow {
    /// The address of the crate's script that does so. It needs an element with `data-follow`,
    /// `data-events`, `data-status` and a `data-` attribute for each status that the page has a text
    /// for, and one with `data-state` that shows that text. At any other status it loads the page
    /// anew.
    pub script: String,
    /// The address of `events`.
    pub events: String,
    /// The address of `status`.
    pub status: String,
}

/// `GET locked`: waits for the phone to come back.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SuspendedPage {
    /// What all pages share.
    pub layout: Layout,
    /// The heading.
    pub heading: String,
    /// Whether the phone has walked away; otherwise where it is is not known at the moment.
    pub is_suspended: bool,
    /// What is shown while the phone is away.
    pub away: String,
    /// What is shown while it is not known where the phone is.
    pub unknown: String,
    /// What is shown once the phone is back.
    pub back: String,
    /// This page's own address, and the text of a button that loads it where no script runs.
    pub go_on: Link,
    /// Where a form posts to that logs the user out, and the text of its button.
    pub log_out: Link,
    /// How a script follows the session.
    pub follow: Follow,
}

/// `GET confirm`: has the user of a session confirm on the phone. Its form posts to the page's own
/// address.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConfirmPage {
    /// What all pages share.
    pub layout: Layout,
    /// The heading.
    pub heading: String,
    /// The user of the session, and the text before the name.
    pub user: KnownUser,
    /// What comes before `methods`.
    pub methods_lead: String,
    /// What the phone will ask for; it may be nothing in particular.
    pub methods: Vec<String>,
    /// The text of the button.
    pub submit: String,
}

/// `GET sessions`: where a user is logged in. Its forms end what should not be.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionsPage {
    /// What all pages share.
    pub layout: Layout,
    /// The heading.
    pub heading: String,
    /// What came of the form that was sent, if one was.
    pub notice: Option<String>,
    /// Whose sessions they are, and the text before the name.
    pub user: KnownUser,
    /// What marks the session in which the page is seen.
    pub current_label: String,
    /// The label of the time of the login.
    pub started_label: String,
    /// The label of the time of the last use.
    pub last_used_label: String,
    /// The label of the address.
    pub address_label: String,
    /// The label of the methods.
    pub methods_label: String,
    /// The sessions in their order: first the one in which the page is seen, then those that were
    /// used last.
    pub sessions: Vec<ListedSession>,
    /// Where a form with the hidden field `id` posts to that ends another session, and the text of
    /// its button.
    pub end: Link,
    /// Where a form posts to that ends all others, and the text of its button; `None` if there are
    /// no others.
    pub end_others: Option<Link>,
    /// Where a form posts to that logs the user out here, and the text of its button.
    pub log_out: Link,
    /// The application's page that the user came from.
    pub back: Link,
    /// The address of a script that shows each `<time datetime>` in the reader's own time zone.
    pub script: String,
}

/// A session as its user sees it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ListedSession {
    /// The value of the hidden field `id`: [`SessionInfo::id`](crate::session::SessionInfo::id).
    pub id: String,
    /// The page is seen in this session.
    pub is_current: bool,
    /// What the client is, as it says itself. It may be any text, so escape it, and put it into a
    /// `<bdi>`.
    pub browser: String,
    /// When the login was.
    pub started: Moment,
    /// When it was last used.
    pub last_used: Moment,
    /// The warning that a browser in which the user had not logged in before began it, unless the page
    /// is seen in that session.
    pub warning: Option<String>,
    /// What is said of a session that holds something open now, such as a page that is followed.
    pub held_open: Option<String>,
    /// The address that the login came from, if it is recorded.
    pub address: Option<String>,
    /// What the phone was to ask for; it may be nothing in particular.
    pub methods: Vec<String>,
}

/// A moment, for a `<time>`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Moment {
    /// The value of the attribute `datetime`: `2026-11-26T14:05:09Z`.
    pub datetime: String,
    /// The moment in UTC, for those without scripts.
    pub text: String,
}

/// The answer that is a [`RegistrationLink`](crate::enrollment::RegistrationLink). It is kept by no cache and
/// told to no other site.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RegistrationPage {
    /// What all pages share.
    pub layout: Layout,
    /// The heading.
    pub heading: String,
    /// The user whose phone it will be, by the display name if there is one, and the text before the
    /// name.
    pub user: KnownUser,
    /// The link. A secret: a phone on which it is opened can log in as the user.
    pub link: Secret,
    /// Whether the link is one of the web. Any other may be shown, but not be made one to click on.
    pub is_web_link: bool,
    /// The link as a QR code, an `<svg>` element; `None` if it is too long for one. A secret.
    pub qr_code: Option<Secret>,
    /// What a screen reader says of the QR code.
    pub qr_code_label: String,
    /// The text of a button that copies the link. It is hidden until the script, which does that,
    /// shows it: the script looks for an element with `data-copy`, the link, and a button in it.
    pub copy: String,
    /// What the script says in the element with `data-copied` once the link is copied.
    pub copied: String,
    /// The advice to keep the link to oneself.
    pub advice: String,
    /// How the page waits for the phone. `None` if the user had one before: the service would not tell
    /// of another.
    pub wait: Option<RegistrationWait>,
    /// What to do where the page does not wait.
    pub done_lead: String,
    /// Where to go on to, for who has registered the phone and is not led on.
    pub done: Link,
    /// The address of the crate's script that copies the link and waits for the phone.
    pub script: String,
}

/// A page waits for a phone to register.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RegistrationWait {
    /// What is shown while it waits.
    pub pending: String,
    /// What is shown once the phone has registered.
    pub registered: String,
    /// What is shown once the page no longer waits.
    pub over: String,
    /// The label of the time at which it no longer waits.
    pub until_label: String,
    /// That time in Unix milliseconds: a script makes it the reader's local time.
    pub until_unix_ms: u64,
    /// The time of day of that, in UTC, for those without scripts.
    pub until: String,
    /// The label of the time that is left.
    pub time_left_label: String,
    /// How many seconds are left.
    pub seconds_left: u64,
    /// The same in minutes and seconds, for those without scripts.
    pub time_left: String,
    /// What to do where no script runs.
    pub lead_without_script: String,
    /// The address that goes on once the phone has registered, and the text of a button that loads it
    /// where no script runs. The page with the link opens it in another tab: that link is shown once.
    pub go_on: Link,
    /// The address at which the script asks whether the phone has registered. The script needs an
    /// element with `data-follow`, `data-status`, `data-go-on` (the address of `go_on`), and
    /// `data-pending`, `data-registered` and `data-none` with the texts for these, and one with
    /// `data-state` that shows them. It shows what has `data-with-script`, hides what has
    /// `data-without-script`, and shows what has `data-at-end` once the page no longer waits.
    pub status: String,
}

/// `GET registration`, while the phone has not registered: where the button of
/// [`RegistrationPage`] leads without scripts. It does not show the link.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RegisteringPage {
    /// What all pages share.
    pub layout: Layout,
    /// The heading.
    pub heading: String,
    /// What to do now.
    pub lead: String,
    /// How the page waits for the phone.
    pub wait: RegistrationWait,
    /// The address of the crate's script that waits for the phone.
    pub script: String,
}

/// Why something is refused: by the routes, or by a layer (401, 403, 503).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ErrorPage {
    /// What all pages share.
    pub layout: Layout,
    /// The status of the answer.
    pub status: u16,
    /// The heading.
    pub heading: String,
    /// What is the matter, a paragraph each.
    pub details: Vec<String>,
    /// Where the person can do something about it.
    pub remedy: Option<Link>,
}
