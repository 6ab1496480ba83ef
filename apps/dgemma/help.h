// The help pages as a terminal shows them, the verb `help`, and the verb that a mistyped one was meant to be.
#pragma once

#include <string>
#include <string_view>

#include "program.h"

namespace CLI {
class App;
}

namespace dgemma {

/// Columns for text that people read: those of the terminal, 100 at most; 100 where there is no terminal.
int TextColumns(const Output& output);

/// The text with every line broken at blanks to fit so many columns. A line goes on below its second column of text
/// ("--flag   what it does") where it has one, otherwise below its beginning, indented. Only ASCII is measured right.
std::string Wrapped(std::string_view text, int columns);

/// The page of a verb, or of the program, in so many columns.
std::string HelpPage(const CLI::App& app, int columns);

/// The verb of that name, or null.
const CLI::App* FindVerb(const CLI::App& app, std::string_view name);

/// What is wrong with a word in a verb's place, with the verb that was perhaps meant: "quantize" for "quantise".
std::string UnknownVerb(const CLI::App& app, const std::string& word);

}  // namespace dgemma
