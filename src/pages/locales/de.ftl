document-title = { $page } · { $app }

link-sign-up = Konto anlegen
link-support = Hilfe
link-privacy = Datenschutz

login-heading = Anmelden
login-username = Benutzername
login-known-user = Ihr Telefon wird fragen, ob Sie es sind:
login-submit = Mit dem Telefon anmelden
login-unread-cookies = Die Anfrage enthält mehr Cookies, als gelesen werden; das sind { $cookies } Cookies und { $bytes } Byte. Das Cookie der Anmeldung ist vielleicht unter den übrigen: Löschen Sie Cookies dieser Website und melden Sie sich dann neu an.

waiting-heading = Sehen Sie auf Ihr Telefon
waiting-lead = Bestätigen Sie dort, dass Sie sich anmelden wollen. Diese Seite geht von selbst weiter.
waiting-lead-without-script = Bestätigen Sie dort, dass Sie sich anmelden wollen, und gehen Sie dann weiter.
waiting-name = Name
waiting-site = Website
waiting-started = Begonnen
waiting-time-left = Verbleibende Zeit
waiting-decline = Lehnen Sie jede Anfrage auf Ihrem Telefon ab, die etwas anderes nennt.
waiting-approved = Bestätigt. Es geht weiter …
waiting-go-on = Weiter
waiting-over-heading = Es kam keine Antwort
waiting-over-lead = Ihr Telefon hat nicht rechtzeitig geantwortet.
waiting-start-again = Neu beginnen
waiting-help-heading = Nichts auf Ihrem Telefon?
waiting-help-online = Prüfen Sie den Benutzernamen, und ob das Telefon online ist.
waiting-help-declined = Wenn Sie abgelehnt oder zu lange gewartet haben, beginnen Sie neu.
waiting-help-register = Wenn dieses Telefon nie registriert wurde, bitten Sie um einen Registrierungslink.

locked-heading = Gesperrt
locked-away = Ihr Telefon ist nicht mehr in der Nähe. Kommen Sie mit ihm zurück, und diese Seite geht von selbst weiter.
locked-unknown = Ob Ihr Telefon in der Nähe ist, ist im Augenblick nicht bekannt. Diese Seite geht von selbst weiter.
locked-back = Ihr Telefon ist zurück. Es geht weiter …
locked-go-on = Erneut versuchen
locked-log-out = Abmelden

confirm-heading = Bestätigen Sie, dass Sie es sind
confirm-lead = Die gewünschte Seite braucht ein neues Ja von Ihrem Telefon:
confirm-methods = Ihr Telefon wird Sie bitten:
confirm-acceptance = die Anfrage anzunehmen
confirm-device = das Telefon zu entsperren
confirm-facial = Ihr Gesicht zu zeigen
confirm-submit = Mit dem Telefon bestätigen

sessions-heading = Ihre Sitzungen
sessions-lead = Hier sind Sie angemeldet als:
sessions-current = Diese Sitzung
sessions-browser = { $browser } unter { $system }
sessions-unknown-browser = Unbekannter Browser
sessions-new-browser = Neuer Browser. Wenn das nicht Sie waren, beenden Sie diese Sitzung.
sessions-started = Angemeldet
sessions-last-used = Zuletzt benutzt
sessions-held-open = gerade offen
sessions-address = Adresse
sessions-methods = Bestätigt durch
sessions-acceptance = Annehmen der Anfrage
sessions-device = Entsperren des Telefons
sessions-facial = Zeigen des Gesichts
sessions-end = Diese Sitzung beenden
sessions-end-others = Alle anderen Sitzungen beenden
sessions-log-out = Hier abmelden
sessions-back = Zurück
sessions-ended = Die Sitzung ist beendet.
sessions-others-ended = Alle Ihre anderen Sitzungen sind beendet.
sessions-over = Diese Sitzung ist bereits vorbei.

registration-heading = Registrieren Sie Ihr Telefon
registration-lead = Scannen Sie dies mit Ihrem Telefon, oder öffnen Sie dort den Link. Das Telefon meldet dann an:
registration-qr-code = Der untenstehende Link als QR-Code
registration-secret = Der Link wird nur dieses eine Mal gezeigt. Wer ihn auf seinem Telefon öffnet, kann sich als Sie anmelden; behalten Sie ihn für sich.
registration-copy = Link kopieren
registration-copied = Kopiert
registration-pending = Diese Seite geht von selbst weiter, sobald das Telefon registriert ist.
registration-registered = Ihr Telefon ist registriert. Es geht weiter …
registration-over = Diese Seite wartet nicht mehr. Wenn Ihr Telefon registriert ist, gehen Sie weiter; wenn nicht, bitten Sie um einen neuen Link.
registration-until = Wartet bis
registration-without-script = Sobald das Telefon registriert ist, gehen Sie weiter. Dafür öffnet sich ein weiterer Tab; der Link bleibt hier.
registration-go-on = Weiter
registration-done-lead = Sobald auch dieses Telefon registriert ist, gehen Sie weiter.
registration-done = Fertig

registering-heading = Warten auf Ihr Telefon
registering-lead = Öffnen Sie den Link auf Ihrem Telefon, oder scannen Sie seinen Code. Sie finden ihn auf der Seite, von der Sie kommen.
registering-without-script = Sobald das Telefon registriert ist, gehen Sie weiter.

refused-log-in = Anmelden
refused-confirm = Mit dem Telefon bestätigen
refused-no-login-heading = Hier wartet keine Anmeldung
refused-no-login = Entweder ist sie vorbei, oder Ihr Browser hat das Cookie der Anmeldung nicht zurückgebracht. Melden Sie sich neu an; wenn Sie wieder hierher kommen, erlauben Sie dieser Website Cookies, und achten Sie darauf, dass ihre Adresse mit https beginnt.
refused-no-registration-heading = Hier wartet keine Registrierung
refused-no-registration = Entweder ist sie vorbei, oder Ihr Browser hat das Cookie der Seite mit dem Link nicht zurückgesandt. Wenn Ihr Telefon registriert ist, melden Sie sich an; wenn nicht, bitten Sie um einen neuen Link.
refused-webkit-cookie = Safari und andere WebKit-Browser nehmen von einer http-Adresse kein sicheres Cookie an, auch nicht von diesem Rechner: Setzen Sie ActiveconnectBuilder::insecure_cookie_name, um mit ihnen zu entwickeln.
refused-start-heading = Die Anmeldung hat nicht begonnen
refused-unreadable = Das Formular konnte nicht gelesen werden. Gehen Sie zurück und versuchen Sie es noch einmal.
refused-name-empty = Der Benutzername ist leer; geben Sie einen ein.
refused-name-too-long = Der Benutzername ist zu lang; höchstens { $bytes } Byte sind möglich.
refused-name-controls = Der Benutzername enthält Steuerzeichen; lassen Sie sie weg.
refused-no-user = Niemand ist bei der Anwendung angemeldet.
refused-bearer = Bearer-Zugangsdaten sind für Programme, die keine Browser sind.
refused-too-many = Es gab zu viele Anmeldungen; versuchen Sie es in { $seconds ->
    [one] { $seconds } Sekunde
   *[other] { $seconds } Sekunden
} wieder.
refused-not-now = Versuchen Sie es später wieder.
refused-sessions = Wo Sie angemeldet sind, ist gerade nicht bekannt. Versuchen Sie es in einigen Sekunden wieder.
refused-methods-heading = Das lässt sich nicht bestätigen
refused-methods = Nichts hier verlangt diese Methoden.
refused-setup-heading = Die Anmeldung ist nicht erreichbar
refused-setup = Diese Anwendung ist nicht richtig eingerichtet. Wer sie betreibt, muss Folgendes beheben:

denied-no-session-heading = Sie sind nicht angemeldet
denied-no-session = Diese Seite ist für Personen, die angemeldet sind.
denied-pending-heading = Ihre Anmeldung wartet noch
denied-pending = Bestätigen Sie sie zuerst auf Ihrem Telefon.
denied-ended-heading = Ihre Sitzung ist vorbei
denied-ended = Melden Sie sich neu an, um weiterzugehen.
denied-no-token-heading = Ihr Telefon ist nicht registriert
denied-no-token = Diese Seite ist für Personen, deren Telefon registriert ist.
denied-suspended = Ihr Telefon ist nicht mehr in der Nähe. Kommen Sie mit ihm zurück und versuchen Sie es dann wieder.
denied-step-up = Hierfür braucht es ein neues Ja von Ihrem Telefon.
denied-unavailable-heading = Im Augenblick nicht verfügbar
denied-unavailable = Ob Sie angemeldet sind, ist gerade nicht bekannt. Versuchen Sie es in einigen Sekunden wieder.
