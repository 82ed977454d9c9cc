document-title = { $page } · { $app }

link-sign-up = Créer un compte
link-support = Obtenir de l’aide
link-privacy = Confidentialité

login-heading = Connexion
login-username = Nom d’utilisateur
login-known-user = Votre téléphone va demander si c’est bien vous :
login-submit = Se connecter avec le téléphone
login-unread-cookies = La requête contient plus de cookies que le maximum lu, soit { $cookies } cookies et { $bytes } octets. Le cookie de la connexion est peut-être parmi les autres : supprimez des cookies de ce site, puis reconnectez-vous.

waiting-heading = Regardez votre téléphone
waiting-lead = Confirmez-y que vous voulez vous connecter. Cette page continue d’elle-même.
waiting-lead-without-script = Confirmez-y que vous voulez vous connecter, puis continuez.
waiting-name = Nom
waiting-site = Site
waiting-started = Début
waiting-time-left = Temps restant
waiting-decline = Refusez sur votre téléphone toute demande qui indique autre chose.
waiting-approved = Approuvé. La page continue…
waiting-go-on = Continuer
waiting-over-heading = Aucune réponse
waiting-over-lead = Votre téléphone n’a pas répondu à temps.
waiting-start-again = Recommencer
waiting-help-heading = Rien sur votre téléphone ?
waiting-help-online = Vérifiez le nom d’utilisateur et que le téléphone est en ligne.
waiting-help-declined = Si vous avez refusé ou trop attendu, recommencez.
waiting-help-register = Si ce téléphone n’a jamais été enregistré, demandez un lien d’enregistrement.

locked-heading = Verrouillé
locked-away = Votre téléphone n’est plus à proximité. Revenez avec lui, et cette page continuera d’elle-même.
locked-unknown = On ne sait pas pour le moment si votre téléphone est à proximité. Cette page continue d’elle-même.
locked-back = Votre téléphone est de retour. La page continue…
locked-go-on = Réessayer
locked-log-out = Se déconnecter

confirm-heading = Confirmez que c’est bien vous
confirm-lead = La page voulue exige un nouvel accord de votre téléphone :
confirm-methods = Votre téléphone vous demandera de :
confirm-acceptance = accepter la demande
confirm-device = déverrouiller le téléphone
confirm-facial = montrer votre visage
confirm-submit = Confirmer avec le téléphone

sessions-heading = Vos sessions
sessions-lead = Voici où vous êtes connecté en tant que :
sessions-current = Cette session
sessions-browser = { $browser } sur { $system }
sessions-unknown-browser = Navigateur inconnu
sessions-new-browser = Nouveau navigateur. Si ce n’était pas vous, mettez fin à cette session.
sessions-started = Connexion
sessions-last-used = Dernière utilisation
sessions-held-open = ouverte en ce moment
sessions-address = Adresse
sessions-methods = Confirmée par
sessions-acceptance = l’acceptation de la demande
sessions-device = le déverrouillage du téléphone
sessions-facial = la reconnaissance du visage
sessions-end = Terminer cette session
sessions-end-others = Terminer toutes les autres sessions
sessions-log-out = Se déconnecter ici
sessions-back = Retour
sessions-ended = La session est terminée.
sessions-others-ended = Toutes vos autres sessions sont terminées.
sessions-over = Cette session est déjà terminée.

registration-heading = Enregistrez votre téléphone
registration-lead = Scannez ceci avec votre téléphone, ou ouvrez-y le lien. Le téléphone connectera ensuite :
registration-qr-code = Le lien ci-dessous sous forme de code QR
registration-secret = Ce lien n’est affiché qu’une seule fois. Quiconque l’ouvre sur son téléphone peut se connecter à votre place : gardez-le pour vous.
registration-copy = Copier le lien
registration-copied = Lien copié
registration-pending = Cette page continue d’elle-même dès que le téléphone est enregistré.
registration-registered = Votre téléphone est enregistré. La page continue…
registration-over = Cette page n’attend plus. Si votre téléphone est enregistré, continuez ; sinon, demandez un autre lien.
registration-until = Attend jusqu’à
registration-without-script = Une fois le téléphone enregistré, continuez. Un autre onglet s’ouvre pour cela ; le lien reste ici.
registration-go-on = Continuer
registration-done-lead = Une fois ce téléphone enregistré lui aussi, continuez.
registration-done = Terminé

registering-heading = En attente de votre téléphone
registering-lead = Ouvrez le lien sur votre téléphone, ou scannez son code. Il se trouve sur la page d’où vous venez.
registering-without-script = Une fois le téléphone enregistré, continuez.

refused-log-in = Se connecter
refused-confirm = Confirmer avec le téléphone
refused-no-login-heading = Aucune connexion en attente
refused-no-login = Soit elle est terminée, soit votre navigateur n’a pas renvoyé le cookie de la connexion. Reconnectez-vous ; si vous revenez ici, autorisez les cookies de ce site et vérifiez que son adresse commence par https.
refused-no-registration-heading = Aucun enregistrement en attente
refused-no-registration = Soit il est terminé, soit votre navigateur n’a pas renvoyé le cookie de la page du lien. Si votre téléphone est enregistré, connectez-vous ; sinon, demandez un autre lien.
refused-webkit-cookie = Safari et les autres navigateurs WebKit n’acceptent aucun cookie sécurisé d’une adresse http, même de cette machine : pour développer avec eux, utilisez ActiveconnectBuilder::insecure_cookie_name.
refused-start-heading = La connexion n’a pas commencé
refused-unreadable = Le formulaire n’a pas pu être lu. Revenez en arrière et réessayez.
refused-name-empty = Le nom d’utilisateur est vide ; saisissez-en un.
refused-name-too-long = Le nom d’utilisateur est trop long ; { $bytes } octets au plus.
refused-name-controls = Le nom d’utilisateur contient des caractères de contrôle ; retirez-les.
refused-no-user = Personne n’est connecté à l’application.
refused-bearer = Les identifiants « bearer » sont réservés aux clients qui ne sont pas des navigateurs.
refused-too-many = Il y a eu trop de connexions ; réessayez dans { $seconds ->
    [one] { $seconds } seconde
   *[other] { $seconds } secondes
}.
refused-not-now = Réessayez plus tard.
refused-sessions = On ne sait pas pour l’instant où vous êtes connecté. Réessayez dans quelques secondes.
refused-methods-heading = Impossible de confirmer cela
refused-methods = Rien ici n’exige ces méthodes.
refused-setup-heading = La connexion est inaccessible
refused-setup = Cette application n’est pas correctement configurée. La personne qui la gère doit corriger ceci :

denied-no-session-heading = Vous n’êtes pas connecté
denied-no-session = Cette page est réservée aux personnes connectées.
denied-pending-heading = Votre connexion est encore en attente
denied-pending = Confirmez-la d’abord sur votre téléphone.
denied-ended-heading = Votre session est terminée
denied-ended = Reconnectez-vous pour continuer.
denied-no-token-heading = Votre téléphone n’est pas enregistré
denied-no-token = Cette page est réservée aux personnes dont le téléphone est enregistré.
denied-suspended = Votre téléphone n’est plus à proximité. Revenez avec lui, puis réessayez.
denied-step-up = Cela exige un nouvel accord de votre téléphone.
denied-unavailable-heading = Indisponible pour le moment
denied-unavailable = On ne sait pas pour l’instant si vous êtes connecté. Réessayez dans quelques secondes.
