"""What Bind says is wrong, in other languages. A text that nobody has translated stays English."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

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
_PLACE: Final = re.compile(r"<(\w+):([^>]*)>")
_CHANGED: Final = ": the form has changed since this was filled in"


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(_PLACE.sub(r"(?P<\1>\2)", text), re.DOTALL)


_PATTERNS: Final = tuple((_pattern(text), dict(zip(LANGUAGES, others, strict=True))) for text, others in _TEXTS)


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
    for pattern, others in _PATTERNS:
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
