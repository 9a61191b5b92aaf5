// What the page says of its own, in the languages that forms have words in. What the mesh and vendors say stays.

const LANGUAGES = ["de", "fr", "es"];

// The English text, and what it is in each of these languages; `{…}` stands for what is put in.
const TEXTS: { readonly [english: string]: readonly [string, string, string] } = {
  "Try an action": ["Eine Aktion ausprobieren", "Essayer une action", "Probar una acción"],
  "In {environment} of {workspace}.": [
    "In {environment} von {workspace}.",
    "Dans {environment} de {workspace}.",
    "En {environment} de {workspace}.",
  ],
  "Find an integration": ["Integration suchen", "Chercher une intégration", "Buscar una integración"],
  "Find an action": ["Aktion suchen", "Chercher une action", "Buscar una acción"],
  "{count}: the first {shown} are shown": [
    "{count}: die ersten {shown} werden gezeigt",
    "{count} : les {shown} premiers sont affichés",
    "{count}: se muestran los primeros {shown}",
  ],
  "Actions of {title}": ["Aktionen von {title}", "Actions de {title}", "Acciones de {title}"],
  Settings: ["Einstellungen", "Paramètres", "Ajustes"],
  "Connect an account": ["Ein Konto verbinden", "Connecter un compte", "Conectar una cuenta"],
  "Another integration": ["Eine andere Integration", "Une autre intégration", "Otra integración"],
  "Another action": ["Eine andere Aktion", "Une autre action", "Otra acción"],
  "Its actions": ["Zu den Aktionen", "Ses actions", "Sus acciones"],
  "There is no connection to ask with.": [
    "Es gibt keine Verbindung, mit der gefragt werden kann.",
    "Il n'y a pas de connexion pour demander.",
    "No hay ninguna conexión con la que preguntar.",
  ],
  "There is no connection at {title} to call with.": [
    "Es gibt keine Verbindung zu {title}, mit der aufgerufen werden kann.",
    "Il n'y a pas de connexion à {title} pour appeler.",
    "No hay ninguna conexión a {title} con la que llamar.",
  ],
  "There is no connection at {title} yet.": [
    "Es gibt noch keine Verbindung zu {title}.",
    "Il n'y a pas encore de connexion à {title}.",
    "Todavía no hay ninguna conexión a {title}.",
  ],
  "Switch integrations": ["Integrationen schalten", "Activer des intégrations", "Activar integraciones"],
  "What the workspace uses": [
    "Was der Arbeitsbereich verwendet",
    "Ce que l'espace de travail utilise",
    "Lo que usa el espacio de trabajo",
  ],
  "In {environment} of {workspace}. It holds for everybody there.": [
    "In {environment} von {workspace}. Es gilt dort für alle.",
    "Dans {environment} de {workspace}. Cela vaut pour tous.",
    "En {environment} de {workspace}. Vale para todos allí.",
  ],
  "There is nothing to switch.": [
    "Es gibt nichts zu schalten.",
    "Il n'y a rien à activer.",
    "No hay nada que activar.",
  ],
  "Its integrations": ["Zu den Integrationen", "Ses intégrations", "Sus integraciones"],
  "Nothing was changed": ["Nichts wurde geändert", "Rien n'a été changé", "No se cambió nada"],
  "The choice was refused": ["Die Wahl wurde abgelehnt", "Le choix a été refusé", "La elección fue rechazada"],
  "Switch on {id}": ["{id} einschalten", "Activer {id}", "Activar {id}"],
  "Switch off {id}": ["{id} ausschalten", "Désactiver {id}", "Desactivar {id}"],
  "{id} is on.": ["{id} ist an.", "{id} est activée.", "{id} está activada."],
  "{id} is off.": ["{id} ist aus.", "{id} est désactivée.", "{id} está desactivada."],
  "is on": ["ist an", "est activée", "está activada"],
  "is off": ["ist aus", "est désactivée", "está desactivada"],
  "is there to be switched on": ["kann eingeschaltet werden", "peut être activée", "se puede activar"],
  "{state}: chosen by {who}": [
    "{state}: gewählt von {who}",
    "{state} : choisi par {who}",
    "{state}: elegido por {who}",
  ],
  "Why, for those who ask later": [
    "Warum, für alle, die später fragen",
    "Pourquoi, pour ceux qui demanderont plus tard",
    "Por qué, para quienes pregunten después",
  ],
  Connection: ["Verbindung", "Connexion", "Conexión"],
  Call: ["Aufrufen", "Appeler", "Llamar"],
  Answer: ["Antwort", "Réponse", "Respuesta"],
  Save: ["Speichern", "Enregistrer", "Guardar"],
  "What came of it": ["Was daraus wurde", "Ce qu'il en est", "Qué resultó"],
  "Nothing was saved": ["Nichts wurde gespeichert", "Rien n'a été enregistré", "No se guardó nada"],
  "The settings were refused": [
    "Die Einstellungen wurden abgelehnt",
    "Les paramètres ont été refusés",
    "Los ajustes fueron rechazados",
  ],
  "The settings are saved": [
    "Die Einstellungen sind gespeichert",
    "Les paramètres sont enregistrés",
    "Los ajustes están guardados",
  ],
  "The next call of every connection has them.": [
    "Der nächste Aufruf jeder Verbindung hat sie.",
    "Le prochain appel de chaque connexion les a.",
    "La próxima llamada de cada conexión los tiene.",
  ],
  "Open the connect page": ["Zur Verbindungsseite", "Ouvrir la page de connexion", "Abrir la página de conexión"],
  " or give the link to whoever has the account. It works once, for half an hour.": [
    " oder den Link an die Person geben, der das Konto gehört. Er gilt einmal, eine halbe Stunde lang.",
    " ou donnez le lien à la personne qui a le compte. Il sert une fois, pendant une demi-heure.",
    " o dé el enlace a quien tenga la cuenta. Sirve una vez, durante media hora.",
  ],
  "Connect an account at {title}": [
    "Ein Konto bei {title} verbinden",
    "Connecter un compte chez {title}",
    "Conectar una cuenta en {title}",
  ],
  "This page goes on when the account is connected.": [
    "Hier geht es weiter, sobald das Konto verbunden ist.",
    "Cette page continue dès que le compte est connecté.",
    "Esta página sigue cuando la cuenta esté conectada.",
  ],
  "{title} is connected": ["{title} ist verbunden", "{title} est connecté", "{title} está conectado"],
  "Nobody connected in time": [
    "Niemand hat rechtzeitig verbunden",
    "Personne ne s'est connecté à temps",
    "Nadie conectó a tiempo",
  ],
  "The connection is {name}.": ["Die Verbindung ist {name}.", "La connexion est {name}.", "La conexión es {name}."],
  "Leave this page": ["Diese Seite verlassen", "Quitter cette page", "Salir de esta página"],
  "You have left": ["Die Seite ist verlassen", "Vous avez quitté la page", "Ha salido"],
  "This page can do nothing any more.": [
    "Diese Seite kann nichts mehr tun.",
    "Cette page ne peut plus rien faire.",
    "Esta página ya no puede hacer nada.",
  ],
  "This link does not work": ["Dieser Link gilt nicht", "Ce lien ne fonctionne pas", "Este enlace no funciona"],
  "It is too old, or it is not whole. Make a new one with `cordboard try`.": [
    "Er ist zu alt oder nicht ganz. Einen neuen macht `cordboard try`.",
    "Il est trop ancien ou incomplet. Faites-en un nouveau avec `cordboard try`.",
    "Es demasiado antiguo o no está completo. Haga uno nuevo con `cordboard try`.",
  ],
  "Something is wrong": ["Etwas ist nicht in Ordnung", "Quelque chose ne va pas", "Algo va mal"],
  "What this form shows in another way": [
    "Was dieses Formular anders zeigt",
    "Ce que ce formulaire montre autrement",
    "Lo que este formulario muestra de otro modo",
  ],
  "The vendor answered {status}": [
    "Der Anbieter hat {status} geantwortet",
    "Le fournisseur a répondu {status}",
    "El proveedor respondió {status}",
  ],
  "1 attempt, trace ": ["1 Versuch, Trace ", "1 essai, trace ", "1 intento, traza "],
  "{count} attempts, trace ": ["{count} Versuche, Trace ", "{count} essais, trace ", "{count} intentos, traza "],
  "{count} bytes of {type}": ["{count} Bytes {type}", "{count} octets de {type}", "{count} bytes de {type}"],
  "Nothing was called": ["Nichts wurde aufgerufen", "Rien n'a été appelé", "No se llamó a nada"],
  "The call was refused": ["Der Aufruf wurde abgelehnt", "L'appel a été refusé", "La llamada fue rechazada"],
  "The mesh cannot be reached. Try again.": [
    "Der Dienst ist nicht zu erreichen. Noch einmal versuchen.",
    "Le service est injoignable. Réessayez.",
    "No se puede acceder al servicio. Inténtelo de nuevo.",
  ],
  "The mesh answered {status}": [
    "Der Dienst hat {status} geantwortet",
    "Le service a répondu {status}",
    "El servicio respondió {status}",
  ],
};

/** The language of the page: the first that the person's browser likes and that there are words in, else English. */
export const LANGUAGE =
  navigator.languages
    .map((tag) => tag.toLowerCase().split("-")[0] ?? "")
    .find((tag) => tag === "en" || LANGUAGES.includes(tag)) ?? "en";

/** Returns a text in the language of the page, with its places filled. */
export function say(english: string, values: { [place: string]: string | number } = {}): string {
  const text = TEXTS[english]?.[LANGUAGES.indexOf(LANGUAGE)] ?? english;
  return text.replace(/\{(\w+)\}/g, (whole, place: string) =>
    Object.hasOwn(values, place) ? String(values[place]) : whole,
  );
}
