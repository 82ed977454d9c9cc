document-title = { $page } · { $app }

link-sign-up = Crear una cuenta
link-support = Obtener ayuda
link-privacy = Privacidad

login-heading = Iniciar sesión
login-username = Nombre de usuario
login-known-user = Su teléfono preguntará si es usted:
login-submit = Iniciar sesión con el teléfono
login-unread-cookies = La solicitud tiene más cookies de las que se leen, que son { $cookies } cookies y { $bytes } bytes. La cookie del inicio de sesión puede estar entre las demás: borre cookies de este sitio y vuelva a iniciar sesión.

waiting-heading = Mire su teléfono
waiting-lead = Confirme allí que quiere iniciar sesión. Esta página continúa por sí sola.
waiting-lead-without-script = Confirme allí que quiere iniciar sesión y luego continúe.
waiting-name = Nombre
waiting-site = Sitio
waiting-started = Inicio
waiting-time-left = Tiempo restante
waiting-decline = Rechace en su teléfono cualquier solicitud que indique otra cosa.
waiting-approved = Aprobado. Continuando…
waiting-go-on = Continuar
waiting-over-heading = No hubo respuesta
waiting-over-lead = Su teléfono no respondió a tiempo.
waiting-start-again = Empezar de nuevo
waiting-help-heading = ¿Nada en su teléfono?
waiting-help-online = Compruebe el nombre de usuario y que el teléfono tenga conexión.
waiting-help-declined = Si rechazó la solicitud o esperó demasiado, empiece de nuevo.
waiting-help-register = Si este teléfono nunca se registró, pida un enlace de registro.

locked-heading = Bloqueado
locked-away = Su teléfono ya no está cerca. Vuelva con él y esta página continuará por sí sola.
locked-unknown = Por el momento no se sabe si su teléfono está cerca. Esta página continúa por sí sola.
locked-back = Su teléfono ha vuelto. Continuando…
locked-go-on = Intentar de nuevo
locked-log-out = Cerrar sesión

confirm-heading = Confirme que es usted
confirm-lead = La página que quiere necesita un nuevo sí de su teléfono:
confirm-methods = Su teléfono le pedirá:
confirm-acceptance = aceptar la solicitud
confirm-device = desbloquear el teléfono
confirm-facial = mostrar su rostro
confirm-submit = Confirmar con el teléfono

sessions-heading = Sus sesiones
sessions-lead = Aquí ha iniciado sesión como:
sessions-current = Esta sesión
sessions-browser = { $browser } en { $system }
sessions-unknown-browser = Navegador desconocido
sessions-new-browser = Navegador nuevo. Si no ha sido usted, cierre esta sesión.
sessions-started = Inicio
sessions-last-used = Último uso
sessions-held-open = abierta ahora
sessions-address = Dirección
sessions-methods = Confirmada al
sessions-acceptance = aceptar la solicitud
sessions-device = desbloquear el teléfono
sessions-facial = mostrar la cara
sessions-end = Cerrar esta sesión
sessions-end-others = Cerrar todas las demás sesiones
sessions-log-out = Cerrar sesión aquí
sessions-back = Volver
sessions-ended = La sesión se ha cerrado.
sessions-others-ended = Todas sus demás sesiones se han cerrado.
sessions-over = Esa sesión ya había terminado.

registration-heading = Registre su teléfono
registration-lead = Escanee esto con su teléfono o abra allí el enlace. El teléfono iniciará entonces la sesión de:
registration-qr-code = El enlace de abajo como código QR
registration-secret = El enlace se muestra solo esta vez. Quien lo abra en su teléfono puede iniciar sesión como usted; no lo comparta.
registration-copy = Copiar el enlace
registration-copied = Copiado
registration-pending = Esta página continúa por sí sola en cuanto el teléfono esté registrado.
registration-registered = Su teléfono está registrado. Continuando…
registration-over = Esta página ya no espera. Si su teléfono está registrado, continúe; si no, pida otro enlace.
registration-until = Espera hasta
registration-without-script = Cuando el teléfono esté registrado, continúe. Para ello se abre otra pestaña; el enlace sigue aquí.
registration-go-on = Continuar
registration-done-lead = Cuando este teléfono también esté registrado, continúe.
registration-done = Listo

registering-heading = Esperando a su teléfono
registering-lead = Abra el enlace en su teléfono o escanee su código. Está en la página de la que viene.
registering-without-script = Cuando el teléfono esté registrado, continúe.

refused-log-in = Iniciar sesión
refused-confirm = Confirmar con el teléfono
refused-no-login-heading = Aquí no espera ningún inicio de sesión
refused-no-login = O bien ya terminó, o su navegador no devolvió la cookie del inicio de sesión. Inicie sesión de nuevo; si vuelve a llegar aquí, permita las cookies de este sitio y compruebe que su dirección empieza por https.
refused-no-registration-heading = Aquí no hay ningún registro en espera
refused-no-registration = O bien ha terminado, o su navegador no devolvió la cookie de la página del enlace. Si su teléfono está registrado, inicie sesión; si no, pida otro enlace.
refused-webkit-cookie = Safari y otros navegadores WebKit no aceptan cookies seguras de una dirección http, tampoco de esta máquina: para desarrollar con ellos, use ActiveconnectBuilder::insecure_cookie_name.
refused-start-heading = El inicio de sesión no empezó
refused-unreadable = No se pudo leer el formulario. Vuelva atrás e inténtelo de nuevo.
refused-name-empty = El nombre de usuario está vacío; escriba uno.
refused-name-too-long = El nombre de usuario es demasiado largo; { $bytes } bytes como máximo.
refused-name-controls = El nombre de usuario tiene caracteres de control; quítelos.
refused-no-user = Nadie ha iniciado sesión en la aplicación.
refused-bearer = Las credenciales «bearer» son para clientes que no son navegadores.
refused-too-many = Hubo demasiados inicios de sesión; inténtelo de nuevo en { $seconds ->
    [one] { $seconds } segundo
   *[other] { $seconds } segundos
}.
refused-not-now = Inténtelo de nuevo más tarde.
refused-sessions = En este momento no se sabe dónde ha iniciado sesión. Vuelva a intentarlo en unos segundos.
refused-methods-heading = Esto no se puede confirmar
refused-methods = Nada aquí exige estos métodos.
refused-setup-heading = No se puede acceder al inicio de sesión
refused-setup = Esta aplicación no está bien configurada. Quien la administra debe corregir lo siguiente:

denied-no-session-heading = No ha iniciado sesión
denied-no-session = Esta página es para personas que han iniciado sesión.
denied-pending-heading = Su inicio de sesión aún espera
denied-pending = Confírmelo primero en su teléfono.
denied-ended-heading = Su sesión ha terminado
denied-ended = Inicie sesión de nuevo para continuar.
denied-no-token-heading = Su teléfono no está registrado
denied-no-token = Esta página es para personas cuyo teléfono está registrado.
denied-suspended = Su teléfono ya no está cerca. Vuelva con él e inténtelo de nuevo.
denied-step-up = Esto necesita un nuevo sí de su teléfono.
denied-unavailable-heading = No disponible por el momento
denied-unavailable = Ahora mismo no se sabe si ha iniciado sesión. Inténtelo de nuevo en unos segundos.
