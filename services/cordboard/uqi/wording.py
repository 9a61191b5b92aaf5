"""What is wrong with values and what forms lose, in other languages. What nobody has translated stays English."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final, TypeAlias

from cordboard.core.errors import Violation
from cordboard.uqi.binding import Bound, Problem

LANGUAGES: Final = ("de", "fr", "es")

# The English text, where `<name:pattern>` is what it puts in, and what it is in each of the languages.
_TEXTS: Final[tuple[tuple[str, tuple[str, str, str]], ...]] = (
    ("is required", ("ist erforderlich", "est obligatoire", "es obligatorio")),
    (
        "is not a field of this form",
        ("ist kein Feld dieses Formulars", "n'est pas un champ de ce formulaire", "no es un campo de este formulario"),
    ),
    (
        "must be a whole number",
        ("muss eine ganze Zahl sein", "doit être un nombre entier", "debe ser un número entero"),
    ),
    ("must be a number", ("muss eine Zahl sein", "doit être un nombre", "debe ser un número")),
    ("is too large a number", ("ist eine zu große Zahl", "est un nombre trop grand", "es un número demasiado grande")),
    (
        "must be between <low:-?\\d+> and <high:\\d+>: others do not travel exactly",
        (
            "muss zwischen {low} und {high} liegen: andere werden nicht genau übertragen",
            "doit être entre {low} et {high} : les autres ne sont pas transmis exactement",
            "debe estar entre {low} y {high}: otros no se transmiten con exactitud",
        ),
    ),
    (
        "has a whole number beyond <high:\\d+>, which does not travel exactly",
        (
            "enthält eine ganze Zahl über {high}, die nicht genau übertragen wird",
            "contient un entier au-delà de {high}, qui n'est pas transmis exactement",
            "contiene un entero mayor que {high}, que no se transmite con exactitud",
        ),
    ),
    ("must be true or false", ("muss wahr oder falsch sein", "doit être vrai ou faux", "debe ser verdadero o falso")),
    ("must look like <a:.*>", ("muss aussehen wie {a}", "doit ressembler à {a}", "debe tener la forma {a}")),
    ("must have a key", ("braucht einen Namen", "a besoin d'un nom", "necesita un nombre")),
    (
        "has the key of an earlier row",
        ("hat denselben Namen wie eine frühere Zeile", "a le nom d'une ligne précédente", "repite un nombre anterior"),
    ),
    (
        "must be an object that says which variant it is",
        ("muss sagen, welche Variante es ist", "doit dire de quelle variante il s'agit", "debe decir qué variante es"),
    ),
    (
        "does not fit the variant <a:.*>",
        ("passt nicht zur Variante {a}", "ne correspond pas à la variante {a}", "no corresponde a la variante {a}"),
    ),
    ("must be one of <a:.*>", ("muss eines davon sein: {a}", "doit être l'un de : {a}", "debe ser uno de: {a}")),
    (
        "must be base64 text, or an object with `base64Content`",
        ("muss eine Datei in Base64 sein", "doit être un fichier en base64", "debe ser un archivo en base64"),
    ),
    (
        "must be a file of these: <a:.*>",
        ("muss eine Datei davon sein: {a}", "doit être un fichier de : {a}", "debe ser un archivo de: {a}"),
    ),
    (
        "must be a file of at most <bound:\\d+> bytes",
        (
            "muss eine Datei von höchstens {bound} Bytes sein",
            "doit être un fichier de {bound} octets au plus",
            "debe ser un archivo de {bound} bytes como máximo",
        ),
    ),
    ("must be base64 text", ("muss Base64-Text sein", "doit être un texte en base64", "debe ser texto en base64")),
    ("is not JSON text", ("ist kein JSON-Text", "n'est pas un texte JSON", "no es texto JSON")),
    (
        "is nested more than <n:\\d+> levels deep",
        ("ist mehr als {n} Ebenen tief", "a plus de {n} niveaux", "tiene más de {n} niveles"),
    ),
    (
        "has a number that is not finite",
        ("enthält eine Zahl, die nicht endlich ist", "contient un nombre non fini", "contiene un número no finito"),
    ),
    (
        "has text that is not Unicode",
        ("enthält Text, der kein Unicode ist", "contient un texte non Unicode", "contiene texto que no es Unicode"),
    ),
    (
        'the value is not of type "<a:.*>"',
        ("muss von der Art „{a}“ sein", "doit être du type « {a} »", "debe ser del tipo «{a}»"),
    ),
    (
        "the value is not of types <a:.*>",
        (
            "muss von einer dieser Arten sein: {a}",
            "doit être de l'un de ces types : {a}",
            "debe ser de un tipo de: {a}",
        ),
    ),
    (
        "the value is shorter than <n:\\d+> characters?",
        (
            "muss mindestens {n} Zeichen haben",
            "doit avoir au moins {n} caractères",
            "debe tener al menos {n} caracteres",
        ),
    ),
    (
        "the value is longer than <n:\\d+> characters?",
        (
            "darf höchstens {n} Zeichen haben",
            "doit avoir au plus {n} caractères",
            "debe tener como máximo {n} caracteres",
        ),
    ),
    (
        'the value does not match "<a:.*>"',
        ("passt nicht zu „{a}“", "ne correspond pas à « {a} »", "no corresponde a «{a}»"),
    ),
    (
        "the value is not one of <a:.*> or <n:\\d+> other candidates",
        (
            "ist keiner dieser Werte: {a} und {n} weitere",
            "n'est aucune de ces valeurs : {a} et {n} autres",
            "no es ninguno de estos valores: {a} y {n} más",
        ),
    ),
    (
        'the value is not one of <a:.*> or <b:"[^"]*"|\\S+>',
        (
            "ist keiner dieser Werte: {a}, {b}",
            "n'est aucune de ces valeurs : {a}, {b}",
            "no es ninguno de estos valores: {a}, {b}",
        ),
    ),
    ("<a:.*> was expected", ("muss {a} sein", "doit être {a}", "debe ser {a}")),
    (
        "the value is less than the minimum of <n:\\S+>",
        ("muss {n} oder mehr sein", "doit être {n} ou plus", "debe ser {n} o más"),
    ),
    (
        "the value is greater than the maximum of <n:\\S+>",
        ("muss {n} oder weniger sein", "doit être {n} ou moins", "debe ser {n} o menos"),
    ),
    (
        "the value is less than or equal to the minimum of <n:\\S+>",
        ("muss mehr als {n} sein", "doit être supérieur à {n}", "debe ser mayor que {n}"),
    ),
    (
        "the value is greater than or equal to the maximum of <n:\\S+>",
        ("muss weniger als {n} sein", "doit être inférieur à {n}", "debe ser menor que {n}"),
    ),
    (
        "the value is not a multiple of <n:\\S+>",
        ("muss ein Vielfaches von {n} sein", "doit être un multiple de {n}", "debe ser múltiplo de {n}"),
    ),
    (
        "the value has less than <n:\\d+> items?",
        (
            "muss mindestens {n} Einträge haben",
            "doit avoir au moins {n} éléments",
            "debe tener al menos {n} elementos",
        ),
    ),
    (
        "the value has more than <n:\\d+> items?",
        (
            "darf höchstens {n} Einträge haben",
            "doit avoir au plus {n} éléments",
            "debe tener como máximo {n} elementos",
        ),
    ),
    (
        "the value has less than <n:\\d+> propert(y|ies)",
        ("muss mindestens {n} Werte haben", "doit avoir au moins {n} valeurs", "debe tener al menos {n} valores"),
    ),
    (
        "the value has more than <n:\\d+> propert(y|ies)",
        ("darf höchstens {n} Werte haben", "doit avoir au plus {n} valeurs", "debe tener como máximo {n} valores"),
    ),
    (
        "the value has non-unique elements",
        ("enthält einen Eintrag zweimal", "contient deux fois le même élément", "contiene un elemento repetido"),
    ),
    (
        "(Additional|Unevaluated) properties are not allowed \\(<a:.*> (was|were) unexpected\\)",
        ("kennt dies nicht: {a}", "ne connaît pas : {a}", "no conoce: {a}"),
    ),
    (
        "the value is not valid under any of the schemas listed in the '(anyOf|oneOf)' keyword",
        (
            "passt zu keiner der Möglichkeiten",
            "ne correspond à aucune des possibilités",
            "no corresponde a ninguna opción",
        ),
    ),
    (
        "the value is valid under more than one of the schemas listed in the 'oneOf' keyword",
        (
            "passt zu mehr als einer der Möglichkeiten",
            "correspond à plus d'une possibilité",
            "corresponde a más de una opción",
        ),
    ),
    (
        "None of the value are valid under the given schema",
        ("enthält keinen passenden Eintrag", "ne contient aucun élément valable", "no contiene ningún elemento válido"),
    ),
    (
        "False schema does not allow the value|<a:.*> is not allowed for the value",
        ("ist hier nicht erlaubt", "n'est pas permis ici", "no está permitido aquí"),
    ),
    (
        "the form has changed since this was filled in",
        (
            "das Formular hat sich geändert, seit es ausgefüllt wurde",
            "le formulaire a changé depuis qu'il a été rempli",
            "el formulario ha cambiado desde que se rellenó",
        ),
    ),
)
# What a form shows in another way than it is: the same, of what stands behind the format and the place.
_LOSSES: Final[tuple[tuple[str, tuple[str, str, str]], ...]] = (
    (
        "tabs; shown as headings",
        (
            "Reiter; als Überschriften gezeigt",
            "onglets ; affichés comme des titres",
            "pestañas; se muestran como títulos",
        ),
    ),
    (
        "columns; it has two where the fields are narrow",
        (
            "Spalten; es macht zwei, wo die Felder schmal sind",
            "colonnes ; il en fait deux où les champs sont étroits",
            "columnas; hace dos donde los campos son estrechos",
        ),
    ),
    (
        "tabs and columns; one field stands below the other",
        (
            "Reiter und Spalten; ein Feld steht unter dem anderen",
            "onglets et colonnes ; les champs sont l'un sous l'autre",
            "pestañas y columnas; un campo está debajo del otro",
        ),
    ),
    (
        "<n:\\d+> fields beyond <most:\\d+> are not shown",
        (
            "{n} Felder über {most} werden nicht gezeigt",
            "{n} champs au-delà de {most} ne sont pas affichés",
            "{n} campos por encima de {most} no se muestran",
        ),
    ),
    (
        "<n:\\d+> commands beyond <most:\\d+> characters are not shown",
        (
            "{n} Befehle über {most} Zeichen werden nicht gezeigt",
            "{n} commandes au-delà de {most} caractères ne sont pas affichées",
            "{n} comandos por encima de {most} caracteres no se muestran",
        ),
    ),
    (
        "what it cannot express is left out, for the editor is large",
        (
            "was es nicht ausdrücken kann, fehlt, weil der Editor groß ist",
            "ce qu'il ne peut pas exprimer est omis, car l'éditeur est grand",
            "lo que no puede expresar se omite, porque el editor es grande",
        ),
    ),
    (
        "a list that is no flat table",
        (
            "eine Liste, die keine flache Tabelle ist",
            "une liste qui n'est pas un tableau plat",
            "una lista que no es una tabla plana",
        ),
    ),
    (
        "values that are not plain",
        ("Werte, die nicht einfach sind", "des valeurs qui ne sont pas simples", "valores que no son simples"),
    ),
    ("<n:\\d+> options", ("{n} Möglichkeiten", "{n} possibilités", "{n} opciones")),
    ("a file", ("eine Datei", "un fichier", "un archivo")),
    (
        "(columns )?always shown, for rows know no conditions",
        (
            "immer gezeigt, denn Zeilen kennen keine Bedingungen",
            "toujours affiché, car les lignes ne connaissent pas de conditions",
            "siempre se muestra, porque las filas no conocen condiciones",
        ),
    ),
    (
        "its default would be read as an expression",
        (
            "sein Standardwert würde als Ausdruck gelesen",
            "sa valeur par défaut serait lue comme une expression",
            "su valor por defecto se leería como una expresión",
        ),
    ),
    (
        "its default does not fit its own schema and is left out",
        (
            "sein Standardwert passt nicht zum eigenen Schema und fehlt",
            "sa valeur par défaut ne correspond pas à son schéma et est omise",
            "su valor por defecto no corresponde a su esquema y se omite",
        ),
    ),
    (
        "its braces are set apart",
        ("seine Klammern sind getrennt", "ses accolades sont séparées", "sus llaves están separadas"),
    ),
    (
        "items that cannot be null",
        (
            "Einträge, die nicht null sein können",
            "des éléments qui ne peuvent pas être null",
            "elementos que no pueden ser null",
        ),
    ),
    (
        "the fields have more than <n:\\d+> characters of description; each is cut to <share:\\d+>",
        (
            "die Felder haben mehr als {n} Zeichen Beschreibung; jede ist auf {share} gekürzt",
            "les champs ont plus de {n} caractères de description ; chacune est coupée à {share}",
            "los campos tienen más de {n} caracteres de descripción; cada una se corta a {share}",
        ),
    ),
    (
        "the fields have more than <n:\\d+> choices; those with more than <share:\\d+> show none",
        (
            "die Felder haben mehr als {n} Möglichkeiten; die mit mehr als {share} zeigen keine",
            "les champs ont plus de {n} possibilités ; ceux qui en ont plus de {share} n'en montrent aucune",
            "los campos tienen más de {n} opciones; los que tienen más de {share} no muestran ninguna",
        ),
    ),
    (
        "the fields have more than <n:\\d+> characters in other languages; they are left out",
        (
            "die Felder haben mehr als {n} Zeichen in anderen Sprachen; sie fehlen",
            "les champs ont plus de {n} caractères dans d'autres langues ; ils sont omis",
            "los campos tienen más de {n} caracteres en otros idiomas; se omiten",
        ),
    ),
    (
        "the schema <a:.*> does not exist",
        ("das Schema {a} gibt es nicht", "le schéma {a} n'existe pas", "el esquema {a} no existe"),
    ),
    (
        "the schema of the form has more than <n:\\d+> characters",
        (
            "das Schema des Formulars hat mehr als {n} Zeichen",
            "le schéma du formulaire a plus de {n} caractères",
            "el esquema del formulario tiene más de {n} caracteres",
        ),
    ),
    (
        "the schemas behind the form have more than <n:\\d+> characters",
        (
            "die Schemata hinter dem Formular haben mehr als {n} Zeichen",
            "les schémas derrière le formulaire ont plus de {n} caractères",
            "los esquemas detrás del formulario tienen más de {n} caracteres",
        ),
    ),
    (
        "the schemas behind the form apply more than <n:\\d+> schemas to a value",
        (
            "die Schemata hinter dem Formular wenden mehr als {n} Schemata auf einen Wert an",
            "les schémas derrière le formulaire appliquent plus de {n} schémas à une valeur",
            "los esquemas detrás del formulario aplican más de {n} esquemas a un valor",
        ),
    ),
    (
        "a key in a cookie has no word there",
        (
            "für einen Schlüssel in einem Cookie gibt es dort kein Wort",
            "une clé dans un cookie n'y a pas de mot",
            "una clave en una cookie no tiene palabra ahí",
        ),
    ),
    (
        "<a:\\w+> has no word there",
        ("für {a} gibt es dort kein Wort", "{a} n'y a pas de mot", "{a} no tiene palabra ahí"),
    ),
    ("is not a schema", ("ist kein Schema", "n'est pas un schéma", "no es un esquema")),
    (
        "is nested more than <n:\\d+> schemas deep and is not checked",
        (
            "ist mehr als {n} Schemata tief und wird nicht geprüft",
            "a plus de {n} niveaux de schémas et n'est pas vérifié",
            "tiene más de {n} niveles de esquemas y no se comprueba",
        ),
    ),
    ("has a malformed <a:\\S+>", ("hat ein falsch geformtes {a}", "a un {a} mal formé", "tiene un {a} mal formado")),
    (
        "has names with a pattern that cannot be checked",
        (
            "hat Namen mit einem Muster, das nicht geprüft werden kann",
            "a des noms avec un motif qui ne peut pas être vérifié",
            "tiene nombres con un patrón que no se puede comprobar",
        ),
    ),
    (
        "has a pattern that cannot be checked in linear time",
        (
            "hat ein Muster, das nicht in linearer Zeit geprüft werden kann",
            "a un motif qui ne peut pas être vérifié en temps linéaire",
            "tiene un patrón que no se puede comprobar en tiempo lineal",
        ),
    ),
    (
        "refers to something outside the definition",
        (
            "verweist auf etwas außerhalb der Definition",
            "renvoie à quelque chose hors de la définition",
            "remite a algo fuera de la definición",
        ),
    ),
    (
        "refers to <a:.*>, which does not exist",
        ("verweist auf {a}, das es nicht gibt", "renvoie à {a}, qui n'existe pas", "remite a {a}, que no existe"),
    ),
    (
        "no value is in both lists",
        (
            "kein Wert ist in beiden Listen",
            "aucune valeur n'est dans les deux listes",
            "ningún valor está en ambas listas",
        ),
    ),
    (
        "two different values are asked for",
        (
            "zwei verschiedene Werte sind verlangt",
            "deux valeurs différentes sont demandées",
            "se piden dos valores diferentes",
        ),
    ),
    ("no type fits", ("keine Art passt", "aucun type ne convient", "ningún tipo encaja")),
    (
        "needs too many references to be followed",
        ("hat zu viele Verweise", "a trop de renvois à suivre", "tiene demasiadas referencias"),
    ),
    ("contains itself", ("enthält sich selbst", "se contient lui-même", "se contiene a sí mismo")),
    ("one of <n:\\d+> shapes", ("eine von {n} Formen", "une forme parmi {n}", "una de {n} formas")),
    (
        "is a list with a schema for each place",
        (
            "ist eine Liste mit einem Schema für jeden Platz",
            "est une liste avec un schéma pour chaque place",
            "es una lista con un esquema para cada lugar",
        ),
    ),
    (
        "is beyond the <n:\\d+> nested fields of a form",
        (
            "ist jenseits der {n} verschachtelten Felder eines Formulars",
            "est au-delà des {n} champs imbriqués d'un formulaire",
            "está más allá de los {n} campos anidados de un formulario",
        ),
    ),
    (
        "has values that are not of its type",
        (
            "hat Werte, die nicht von seiner Art sind",
            "a des valeurs qui ne sont pas de son type",
            "tiene valores que no son de su tipo",
        ),
    ),
    ("and <n:\\d+> more", ("und {n} weitere", "et {n} autres", "y {n} más")),
)
# What follows from a loss, behind a semicolon.
_EFFECTS: Final[Mapping[str, tuple[str, str, str]]] = {
    "shown as JSON": ("als JSON gezeigt", "affiché en JSON", "se muestra como JSON"),
    "that one of its shapes is shown as JSON": (
        "diese seiner Formen als JSON gezeigt",
        "cette forme-là est affichée en JSON",
        "esa de sus formas se muestra como JSON",
    ),
    "shown as text": ("als Text gezeigt", "affiché comme du texte", "se muestra como texto"),
    "shown as base64 text": ("als Base64-Text gezeigt", "affiché en texte base64", "se muestra como texto base64"),
    "shown as a header": ("als Kopfzeile gezeigt", "affiché comme un en-tête", "se muestra como cabecera"),
    "shown without an authentication type": (
        "ohne Art der Anmeldung gezeigt",
        "affiché sans type d'authentification",
        "se muestra sin tipo de autenticación",
    ),
    "the form has no fields": (
        "das Formular hat keine Felder",
        "le formulaire n'a pas de champs",
        "el formulario no tiene campos",
    ),
    "what its JSON fields hold is checked when the action runs": (
        "was seine JSON-Felder enthalten, wird geprüft, wenn die Aktion läuft",
        "le contenu de ses champs JSON est vérifié à l'exécution de l'action",
        "lo que contienen sus campos JSON se comprueba al ejecutar la acción",
    ),
}
# Places that are no names.
_PLACES: Final[Mapping[str, tuple[str, str, str]]] = {
    "the input": ("die Eingabe", "l'entrée", "la entrada"),
    "the input schema": ("das Schema der Eingabe", "le schéma de l'entrée", "el esquema de la entrada"),
    "the shared schemas of the definition": (
        "die gemeinsamen Schemata der Definition",
        "les schémas communs de la définition",
        "los esquemas comunes de la definición",
    ),
    "the schemas behind the form cannot be compiled": (
        "die Schemata hinter dem Formular können nicht übersetzt werden",
        "les schémas derrière le formulaire ne peuvent pas être compilés",
        "los esquemas detrás del formulario no se pueden compilar",
    ),
}
_PLACE: Final = re.compile(r"<(\w+):([^>]*)>")
_CHANGED: Final = ": the form has changed since this was filled in"


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(_PLACE.sub(r"(?P<\1>\2)", text), re.DOTALL)


Phrases: TypeAlias = tuple[tuple[re.Pattern[str], dict[str, str]], ...]


def _phrases(texts: Iterable[tuple[str, tuple[str, str, str]]]) -> Phrases:
    return tuple((_pattern(text), dict(zip(LANGUAGES, others, strict=True))) for text, others in texts)


_PATTERNS: Final = _phrases(_TEXTS)
# A loss may also be that what a person would be told of a value holds of a schema.
_LOSS_PATTERNS: Final = (*_phrases(_LOSSES), *_PATTERNS)


def worded(found: Bound, language: str) -> Bound:
    """Returns what was bound with its problems in a language, as BCP 47 tags it; as it is where there are no words."""
    primary = language.lower().partition("-")[0]
    if primary not in LANGUAGES or not found.problems:
        return found
    return replace(found, problems=tuple(_told(problem, primary) for problem in found.problems))


def said(text: str, language: str) -> str:
    """Returns a text about a value in one of the languages; as it is where nobody has translated it."""
    if text.endswith(_CHANGED):
        return f"{said(text.removesuffix(_CHANGED), language)}: {said(_CHANGED[2:], language)}"
    return _phrased(text, language, _PATTERNS)


def is_worded(language: str) -> bool:
    """Tells whether there are words in a language, as BCP 47 tags it, other than English."""
    return language.lower().partition("-")[0] in LANGUAGES


def loss_said(text: str, language: str) -> str:
    """Returns what a form loses in a language, as BCP 47 tags it; as it is where nobody has translated it.

    A loss is what is lost, behind the format and the place that it is about, and before what follows from it.
    """
    primary = language.lower().partition("-")[0]
    if primary not in LANGUAGES:
        return text
    at = LANGUAGES.index(primary)
    lost, effect = text, ""
    before, _, after = text.rpartition("; ")
    if after in _EFFECTS and not any(pattern.fullmatch(text) for pattern, _ in _LOSS_PATTERNS):
        lost, effect = before, f"; {_EFFECTS[after][at]}"
    # From the whole on: a place may have a colon in its name, and so may what is said.
    for start in (0, *(found.end() for found in re.finditer(": ", lost))):
        told = _phrased(lost[start:], primary, _LOSS_PATTERNS)
        if told != lost[start:]:
            return f"{_placed(lost[:start], at)}{told}{effect}"
    place, colon, rest = lost.partition(": ")
    return f"{_placed(f'{place}{colon}', at)}{rest}{effect}"


def _placed(place: str, at: int) -> str:
    words = _PLACES.get(place.removesuffix(": "))
    return f"{words[at]}: " if words else place


def _phrased(text: str, language: str, phrases: Phrases) -> str:
    for pattern, others in phrases:
        found = pattern.fullmatch(text)
        if found is not None:
            return _filled(others[language], found.groupdict())
    return text


def _filled(text: str, values: Mapping[str, str | None]) -> str:
    # What is put in is text of a definition: its own braces mean nothing.
    return re.sub(r"\{(\w+)\}", lambda place: values[place[1]] or "", text)


def _told(problem: Problem, language: str) -> Problem:
    violation = problem.violation
    text = said(violation.description, language)
    return replace(problem, violation=Violation(violation.field, text, violation.reason))
