# The title of a page where the application has a name.
document-title = { $page } · { $app }

link-sign-up = Create an account
link-support = Get help
link-privacy = Privacy

login-heading = Log in
login-username = User name
login-known-user = Your phone will ask whether it is you:
login-submit = Log in with your phone
login-unread-cookies = The request has more cookies than are read, which is { $cookies } cookies and { $bytes } bytes. The cookie of the login may be among the others: delete cookies of this site, then log in again.

waiting-heading = Look at your phone
waiting-lead = Confirm there that you want to log in. This page goes on by itself.
waiting-lead-without-script = Confirm there that you want to log in, then go on.
waiting-name = Name
waiting-site = Site
waiting-started = Started
waiting-time-left = Time left
waiting-decline = Decline any request on your phone that says something else.
waiting-approved = Approved. Going on …
waiting-go-on = Go on
waiting-over-heading = No answer came
waiting-over-lead = Your phone did not answer in time.
waiting-start-again = Start again
waiting-help-heading = Nothing on your phone?
waiting-help-online = Check the user name, and that the phone is online.
waiting-help-declined = If you declined, or waited too long, start again.
waiting-help-register = If this phone was never registered, ask for a registration link.

locked-heading = Locked
locked-away = Your phone is no longer nearby. Come back with it, and this page goes on by itself.
locked-unknown = Whether your phone is nearby is not known at the moment. This page goes on by itself.
locked-back = Your phone is back. Going on …
locked-go-on = Try again
locked-log-out = Log out

confirm-heading = Confirm that it is you
confirm-lead = The page requires a new confirmation on your phone:
confirm-methods = Your phone will ask you to:
confirm-acceptance = accept the request
confirm-device = unlock the phone
confirm-facial = show your face
confirm-submit = Confirm with your phone

sessions-heading = Your sessions
sessions-lead = Where you are logged in as:
sessions-current = This session
sessions-browser = { $browser } on { $system }
sessions-unknown-browser = Unknown browser
sessions-new-browser = New browser. If that was not you, end this session.
sessions-started = Logged in
sessions-last-used = Last used
sessions-held-open = open now
sessions-address = Address
sessions-methods = Confirmed by
sessions-acceptance = accepting the request
sessions-device = unlocking the phone
sessions-facial = showing your face
sessions-end = End this session
sessions-end-others = End all other sessions
sessions-log-out = Log out here
sessions-back = Back
sessions-ended = The session has ended.
sessions-others-ended = All your other sessions have ended.
sessions-over = That session has already ended.

registration-heading = Register your phone
registration-lead = Scan this with your phone, or open the link there. The phone will then log in:
registration-qr-code = The link below as a QR code
registration-secret = The link is shown this once. A person who opens it on their phone can log in as you, so keep it to yourself.
registration-copy = Copy link
registration-copied = Copied
registration-pending = This page goes on by itself once the phone has registered.
registration-registered = Your phone is registered. Going on …
registration-over = This page no longer waits. If your phone is registered, go on; if not, ask for another link.
registration-until = Waits until
registration-without-script = Once the phone has registered, go on. Another tab opens for that; the link stays here.
registration-go-on = Go on
registration-done-lead = Once this phone has registered too, go on.
registration-done = Done

registering-heading = Waiting for your phone
registering-lead = Open the link on your phone, or scan its code. It is on the page that you came from.
registering-without-script = Once the phone has registered, go on.

refused-log-in = Log in
refused-confirm = Confirm with your phone
refused-no-login-heading = No login waits here
refused-no-login = Either it has ended, or your browser did not send the cookie of the login. Log in again; if this page appears again, allow cookies for this site, and see that its address begins with https.
refused-no-registration-heading = No registration waits here
refused-no-registration = Either it has ended, or your browser did not send the cookie of the page with the link. If your phone is registered, log in; if not, ask for another link.
refused-webkit-cookie = Safari and other WebKit browsers take no secure cookie from an http address, not from this machine either: to develop with them, set ActiveconnectBuilder::insecure_cookie_name.
refused-start-heading = The login did not start
refused-unreadable = The form could not be read. Go back and try again.
refused-name-empty = The user name is empty; enter one.
refused-name-too-long = The user name is longer than { $bytes } bytes; enter a shorter one.
refused-name-controls = The user name has control characters; remove them.
refused-no-user = No user is logged in to the application.
refused-bearer = Browsers cannot request bearer credentials.
refused-too-many = There were too many logins; try again in { $seconds ->
    [one] { $seconds } second
   *[other] { $seconds } seconds
}.
refused-not-now = Try again later.
refused-sessions = Your sessions are not available right now. Try again in a few seconds.
refused-methods-heading = This cannot be confirmed
refused-methods = No part of this site requires these methods.
refused-setup-heading = The login cannot be reached
refused-setup = This application is misconfigured. Its operator has to fix this:

denied-no-session-heading = You are not logged in
denied-no-session = This page is for people who are logged in.
denied-pending-heading = Your login still waits
denied-pending = Confirm it on your phone first.
denied-ended-heading = Your session has ended
denied-ended = Log in again to go on.
denied-no-token-heading = Your phone is not registered
denied-no-token = This page is for people whose phone is registered.
denied-suspended = Your phone is no longer nearby. Come back with it, then try again.
denied-step-up = This requires a new confirmation on your phone.
denied-unavailable-heading = Not available at the moment
denied-unavailable = Your login cannot be checked right now. Try again in a few seconds.
