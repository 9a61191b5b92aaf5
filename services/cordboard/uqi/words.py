"""What forms say of their own, beside the texts of definitions, in the languages that there are words in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cordboard.uqi.fields import Field, File


@dataclass(frozen=True, slots=True)
class Words:
    """The words of one language."""

    command: str = "Command"
    which_action: str = "Which action to run"
    which: str = "Which of them"
    enter: str = "Enter {label}"
    deprecated: str = "{label} (deprecated)"
    yes: str = "Yes"
    no: str = "No"
    name: str = "Name"
    key: str = "Key"
    value: str = "Value"
    settings: str = "Settings"
    what_is_shared: str = "What all connections to {title} share"
    fill_in_first: str = "fill in {labels} first"
    runs_nothing: str = "this mesh runs no actions"
    takes_files: str = "Takes {types}."
    # Appsmith offers what is called so where a search finds nothing.
    custom_action: str = "Custom action"
    at_most_bytes: str = "At most {count} bytes."

    def titled(self, title: str, *, deprecated: bool) -> str:
        """Returns what a field is called, with a mark where the vendor announced its end."""
        return self.deprecated.replace("{label}", title) if deprecated else title

    def described(self, field: Field) -> str:
        """Returns what a field is for, and which files it takes where it takes not all of them."""
        parts = [field.description]
        if isinstance(field.kind, File) and field.kind.accept:
            parts.append(self.takes_files.replace("{types}", ", ".join(field.kind.accept)))
        if isinstance(field.kind, File) and field.kind.max_bytes:
            parts.append(self.at_most_bytes.replace("{count}", str(field.kind.max_bytes)))
        return " ".join(filter(None, parts))


_ENGLISH: Final = Words()
_OTHERS: Final[Mapping[str, Words]] = {
    "de": Words(
        command="Befehl",
        which_action="Welche Aktion ausgeführt wird",
        which="Was davon",
        enter="{label} eingeben",
        deprecated="{label} (veraltet)",
        yes="Ja",
        no="Nein",
        name="Name",
        key="Schlüssel",
        value="Wert",
        settings="Einstellungen",
        what_is_shared="Was allen Verbindungen zu {title} gemeinsam ist",
        fill_in_first="zuerst ausfüllen: {labels}",
        runs_nothing="hier werden keine Aktionen ausgeführt",
        custom_action="Eigene Anfrage (custom action)",
        takes_files="Nimmt {types}.",
        at_most_bytes="Höchstens {count} Bytes.",
    ),
    "fr": Words(
        command="Commande",
        which_action="L'action à exécuter",
        which="Lequel",
        enter="Saisir {label}",
        deprecated="{label} (obsolète)",
        yes="Oui",
        no="Non",
        name="Nom",
        key="Clé",
        value="Valeur",
        settings="Paramètres",
        what_is_shared="Ce que toutes les connexions à {title} ont en commun",
        fill_in_first="remplissez d'abord : {labels}",
        runs_nothing="aucune action n'est exécutée ici",
        custom_action="Requête libre (custom action)",
        takes_files="Accepte {types}.",
        at_most_bytes="{count} octets au plus.",
    ),
    "es": Words(
        command="Comando",
        which_action="La acción que se ejecuta",
        which="Cuál de ellos",
        enter="Introducir {label}",
        deprecated="{label} (obsoleto)",
        yes="Sí",
        no="No",
        name="Nombre",
        key="Clave",
        value="Valor",
        settings="Ajustes",
        what_is_shared="Lo que comparten todas las conexiones a {title}",
        fill_in_first="rellene primero: {labels}",
        runs_nothing="aquí no se ejecutan acciones",
        custom_action="Solicitud propia (custom action)",
        takes_files="Acepta {types}.",
        at_most_bytes="{count} bytes como máximo.",
    ),
}


def words_in(language: str) -> Words:
    """Returns the words for a language, as BCP 47 tags it (`de-CH`); English where there are no others."""
    return _OTHERS.get(language.lower().partition("-")[0], _ENGLISH)
