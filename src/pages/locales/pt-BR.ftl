document-title = { $page } · { $app }

link-sign-up = Criar uma conta
link-support = Obter ajuda
link-privacy = Privacidade

login-heading = Entrar
login-username = Nome de usuário
login-known-user = Seu telefone vai perguntar se é você:
login-submit = Entrar com o telefone
login-unread-cookies = A requisição tem mais cookies do que são lidos, que são { $cookies } cookies e { $bytes } bytes. O cookie do login pode estar entre os outros: apague cookies deste site e entre de novo.

waiting-heading = Olhe para o seu telefone
waiting-lead = Confirme lá que você quer entrar. Esta página continua sozinha.
waiting-lead-without-script = Confirme lá que você quer entrar e depois continue.
waiting-name = Nome
waiting-site = Site
waiting-started = Início
waiting-time-left = Tempo restante
waiting-decline = Recuse no telefone qualquer pedido que diga outra coisa.
waiting-approved = Aprovado. Continuando…
waiting-go-on = Continuar
waiting-over-heading = Não houve resposta
waiting-over-lead = Seu telefone não respondeu a tempo.
waiting-start-again = Começar de novo
waiting-help-heading = Nada no seu telefone?
waiting-help-online = Verifique o nome de usuário e se o telefone está on-line.
waiting-help-declined = Se você recusou ou esperou demais, comece de novo.
waiting-help-register = Se este telefone nunca foi registrado, peça um link de registro.

locked-heading = Bloqueado
locked-away = Seu telefone não está mais por perto. Volte com ele, e esta página continuará sozinha.
locked-unknown = No momento não se sabe se o seu telefone está por perto. Esta página continua sozinha.
locked-back = Seu telefone voltou. Continuando…
locked-go-on = Tentar de novo
locked-log-out = Sair

confirm-heading = Confirme que é você
confirm-lead = A página que você quer precisa de um novo sim do seu telefone:
confirm-methods = Seu telefone vai pedir para você:
confirm-acceptance = aceitar o pedido
confirm-device = desbloquear o telefone
confirm-facial = mostrar o rosto
confirm-submit = Confirmar com o telefone

sessions-heading = Suas sessões
sessions-lead = Onde você está conectado como:
sessions-current = Esta sessão
sessions-browser = { $browser } no { $system }
sessions-unknown-browser = Navegador desconhecido
sessions-new-browser = Navegador novo. Se não foi você, encerre esta sessão.
sessions-started = Início
sessions-last-used = Último uso
sessions-held-open = aberta agora
sessions-address = Endereço
sessions-methods = Confirmada ao
sessions-acceptance = aceitar a solicitação
sessions-device = desbloquear o telefone
sessions-facial = mostrar o rosto
sessions-end = Encerrar esta sessão
sessions-end-others = Encerrar todas as outras sessões
sessions-log-out = Sair aqui
sessions-back = Voltar
sessions-ended = A sessão foi encerrada.
sessions-others-ended = Todas as suas outras sessões foram encerradas.
sessions-over = Essa sessão já havia terminado.

registration-heading = Registre o seu telefone
registration-lead = Escaneie isto com o telefone ou abra o link nele. O telefone passará a fazer o login de:
registration-qr-code = O link abaixo como código QR
registration-secret = O link é mostrado só desta vez. Quem o abrir no próprio telefone pode entrar como você; não o compartilhe.
registration-copy = Copiar link
registration-copied = Copiado
registration-pending = Esta página continua sozinha assim que o telefone for registrado.
registration-registered = Seu telefone está registrado. Continuando…
registration-over = Esta página não espera mais. Se o seu telefone está registrado, continue; se não, peça outro link.
registration-until = Espera até
registration-without-script = Quando o telefone estiver registrado, continue. Outra aba será aberta para isso; o link fica aqui.
registration-go-on = Continuar
registration-done-lead = Quando este telefone também estiver registrado, continue.
registration-done = Pronto

registering-heading = Esperando o seu telefone
registering-lead = Abra o link no telefone ou escaneie o código dele. Ele está na página de onde você veio.
registering-without-script = Quando o telefone estiver registrado, continue.

refused-log-in = Entrar
refused-confirm = Confirmar com o telefone
refused-no-login-heading = Nenhum login espera aqui
refused-no-login = Ou ele terminou, ou o seu navegador não devolveu o cookie do login. Entre de novo; se voltar a esta página, permita cookies para este site e verifique se o endereço começa com https.
refused-no-registration-heading = Nenhum registro espera aqui
refused-no-registration = Ou ele já terminou, ou o seu navegador não devolveu o cookie da página do link. Se o seu telefone está registrado, entre; se não, peça outro link.
refused-webkit-cookie = O Safari e outros navegadores WebKit não aceitam cookies seguros de um endereço http, nem desta máquina: para desenvolver com eles, use ActiveconnectBuilder::insecure_cookie_name.
refused-start-heading = O login não começou
refused-unreadable = Não foi possível ler o formulário. Volte e tente de novo.
refused-name-empty = O nome de usuário está vazio; digite um.
refused-name-too-long = O nome de usuário é longo demais; no máximo { $bytes } bytes.
refused-name-controls = O nome de usuário tem caracteres de controle; retire-os.
refused-no-user = Ninguém entrou no aplicativo.
refused-bearer = Credenciais “bearer” são para clientes que não são navegadores.
refused-too-many = Houve logins demais; tente de novo em { $seconds ->
    [one] { $seconds } segundo
   *[other] { $seconds } segundos
}.
refused-not-now = Tente de novo mais tarde.
refused-sessions = No momento não se sabe onde você está conectado. Tente novamente em alguns segundos.
refused-methods-heading = Isto não pode ser confirmado
refused-methods = Nada aqui exige estes métodos.
refused-setup-heading = Não é possível acessar a página de entrada
refused-setup = Este aplicativo não está configurado corretamente. Quem o administra precisa corrigir isto:

denied-no-session-heading = Você não entrou
denied-no-session = Esta página é para pessoas que entraram.
denied-pending-heading = Seu login ainda espera
denied-pending = Confirme-o primeiro no seu telefone.
denied-ended-heading = Sua sessão terminou
denied-ended = Entre de novo para continuar.
denied-no-token-heading = Seu telefone não está registrado
denied-no-token = Esta página é para pessoas cujo telefone está registrado.
denied-suspended = Seu telefone não está mais por perto. Volte com ele e tente de novo.
denied-step-up = Isto precisa de um novo sim do seu telefone.
denied-unavailable-heading = Indisponível no momento
denied-unavailable = Agora não se sabe se você entrou. Tente de novo em alguns segundos.
