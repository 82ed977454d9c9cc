document-title = { $page } · { $app }

link-sign-up = アカウントを作成
link-support = ヘルプ
link-privacy = プライバシー

login-heading = ログイン
login-username = ユーザー名
login-known-user = ご本人かどうかを、お使いのスマートフォンで確認します：
login-submit = スマートフォンでログイン
login-unread-cookies = リクエストの Cookie が、読み取れる上限（{ $cookies } 個、{ $bytes } バイト）を超えています。ログインの Cookie が読み取れていない可能性があります。このサイトの Cookie を削除してから、もう一度ログインしてください。

waiting-heading = スマートフォンを確認してください
waiting-lead = スマートフォンでログインを承認してください。このページは自動的に進みます。
waiting-lead-without-script = スマートフォンでログインを承認してから、次へ進んでください。
waiting-name = 名前
waiting-site = サイト
waiting-started = 開始時刻
waiting-time-left = 残り時間
waiting-decline = これと異なる内容の要求がスマートフォンに届いた場合は、拒否してください。
waiting-approved = 承認されました。次へ進みます…
waiting-go-on = 次へ
waiting-over-heading = 応答がありませんでした
waiting-over-lead = 時間内にスマートフォンからの応答がありませんでした。
waiting-start-again = やり直す
waiting-help-heading = スマートフォンに何も届きませんか？
waiting-help-online = ユーザー名と、スマートフォンがオンラインであることを確認してください。
waiting-help-declined = 拒否した場合や、時間が過ぎた場合は、やり直してください。
waiting-help-register = このスマートフォンをまだ登録していない場合は、登録リンクを依頼してください。

locked-heading = ロックされています
locked-away = スマートフォンが近くにありません。スマートフォンを持って戻ると、このページは自動的に進みます。
locked-unknown = スマートフォンが近くにあるかどうか、現在わかりません。このページは自動的に進みます。
locked-back = スマートフォンが戻りました。次へ進みます…
locked-go-on = 再試行
locked-log-out = ログアウト

confirm-heading = ご本人であることを確認してください
confirm-lead = このページを開くには、スマートフォンでもう一度承認が必要です：
confirm-methods = スマートフォンで次の操作が求められます：
confirm-acceptance = 要求を承認する
confirm-device = スマートフォンのロックを解除する
confirm-facial = 顔を見せる
confirm-submit = スマートフォンで確認

registration-heading = スマートフォンを登録してください
registration-lead = これをスマートフォンで読み取るか、スマートフォンでリンクを開いてください。そのスマートフォンでログインできるようになるユーザー：
registration-qr-code = 下のリンクの QR コード
registration-secret = リンクが表示されるのは今回だけです。自分のスマートフォンで開いた人は誰でもあなたとしてログインできるため、他の人に教えないでください。
registration-copy = リンクをコピー
registration-copied = コピーしました
registration-pending = スマートフォンの登録が済むと、このページは自動的に進みます。
registration-registered = スマートフォンが登録されました。次へ進みます…
registration-over = このページでの待機は終了しました。スマートフォンの登録が済んでいる場合は次へ進み、済んでいない場合は新しいリンクを依頼してください。
registration-until = 待機の終了時刻
registration-without-script = スマートフォンの登録が済んだら、次へ進んでください。別のタブが開き、リンクはこのページに残ります。
registration-go-on = 次へ
registration-done-lead = このスマートフォンの登録も済んだら、次へ進んでください。
registration-done = 完了

registering-heading = スマートフォンの登録を待っています
registering-lead = スマートフォンでリンクを開くか、コードを読み取ってください。リンクは前のページにあります。
registering-without-script = スマートフォンの登録が済んだら、次へ進んでください。

refused-log-in = ログイン
refused-confirm = スマートフォンで確認
refused-no-login-heading = 待機中のログインはありません
refused-no-login = ログインが終了したか、ブラウザーがログインの Cookie を送り返しませんでした。もう一度ログインしてください。再びこのページが表示される場合は、このサイトの Cookie を許可し、アドレスが https で始まることを確認してください。
refused-no-registration-heading = 待機中の登録はありません
refused-no-registration = 登録が終了したか、リンクのページの Cookie がブラウザーから返されませんでした。スマートフォンの登録が済んでいる場合はログインし、済んでいない場合は新しいリンクを依頼してください。
refused-webkit-cookie = Safari などの WebKit ブラウザーは、http のアドレスからは、このマシンであっても Secure Cookie を受け付けません。開発に使う場合は Builder::insecure_cookie_name を設定してください。
refused-start-heading = ログインを開始できませんでした
refused-unreadable = フォームを読み取れませんでした。戻ってもう一度お試しください。
refused-name-empty = ユーザー名が空です。入力してください。
refused-name-too-long = ユーザー名が長すぎます。最大 { $bytes } バイトです。
refused-name-controls = ユーザー名に制御文字が含まれています。取り除いてください。
refused-no-user = アプリケーションに誰もログインしていません。
refused-bearer = Bearer 認証情報は、ブラウザー以外のクライアント用です。
refused-too-many = ログインの回数が多すぎます。{ $seconds } 秒後にもう一度お試しください。
refused-not-now = 後でもう一度お試しください。
refused-methods-heading = これは確認できません
refused-methods = ここではこれらの方法は求められていません。

denied-no-session-heading = ログインしていません
denied-no-session = このページはログインしている人のためのものです。
denied-pending-heading = ログインはまだ待機中です
denied-pending = 先にスマートフォンで承認してください。
denied-ended-heading = セッションは終了しました
denied-ended = 続けるには、もう一度ログインしてください。
denied-no-token-heading = スマートフォンが登録されていません
denied-no-token = このページはスマートフォンを登録した人のためのものです。
denied-suspended = スマートフォンが近くにありません。スマートフォンを持って戻り、もう一度お試しください。
denied-step-up = これにはスマートフォンでもう一度承認が必要です。
denied-unavailable-heading = 現在ご利用いただけません
denied-unavailable = ログインしているかどうか、現在わかりません。数秒後にもう一度お試しください。
