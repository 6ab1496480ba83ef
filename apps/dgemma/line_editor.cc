// libedit behind LineEditor. It reads keys through ReadKey, which also wakes for an interruption: signals are blocked
// in this thread and arrive by a pipe. In a window of absurd size there is no libedit: lines come as the terminal edits
// them.
#include "line_editor.h"

#include <fcntl.h>
#include <histedit.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <vector>

#include "files/atomic_file.h"
#include "files/bytes.h"
#include "files/mapped_file.h"
#include "terminal.h"
#include "text/utf8.h"

namespace dgemma {
namespace {

constexpr int kRemembered = 1000;
constexpr int64_t kMostCells = 1'000'000;      // libedit keeps 8 bytes for each cell of the window
constexpr uint64_t kLongestHistory = 4 << 20;  // bytes of the file; a longer one is started anew

std::filesystem::path HistoryPath() {
  const char* state = std::getenv("XDG_STATE_HOME");
  if (state != nullptr && *state == '/') return std::filesystem::path(state) / "dgemma" / "history";
  const char* home = std::getenv("HOME");
  if (home == nullptr || *home != '/') return {};
  return std::filesystem::path(home) / ".local" / "state" / "dgemma" / "history";
}

/// False for a window that no screen has: libedit would take memory for all of it.
bool HasEditableWindow() {
  const TerminalSize size = SizeOf(STDIN_FILENO);
  return int64_t{size.columns} * size.rows <= kMostCells;
}

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  size_t begin = 0;
  for (size_t end = text.find('\n'); end != std::string::npos; end = text.find('\n', begin)) {
    if (end > begin) lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

}  // namespace

struct LineEditor::State {
  Signals& signals;
  EditLine* editor = nullptr;
  History* history = nullptr;
  HistEvent event{};
  std::string prompt;
  std::array<int, 2> wake{-1, -1};
  bool interrupted = false;
  std::filesystem::path history_path;

  explicit State(Signals& program_signals) : signals(program_signals) {}

  static State& Of(EditLine* editor) {
    State* state = nullptr;
    el_get(editor, EL_CLIENTDATA, &state);
    return *state;
  }
  static char* Prompt(EditLine* editor) { return Of(editor).prompt.data(); }
  static int ReadKey(EditLine* editor, wchar_t* key) { return Of(editor).ReadCharacter(key); }

  void StartEditor();
  Line ReadEdited();
  Line ReadPlain();
  Line::End Interrupted() const { return signals.terminating() ? Line::End::kEndOfInput : Line::End::kInterrupted; }
  bool WaitForKey();
  int ReadCharacter(wchar_t* key);
  bool ReadByte(char& byte);
  void LoadHistory();
};

// False when interrupted.
bool LineEditor::State::WaitForKey() {
  std::array<pollfd, 2> ready = {pollfd{STDIN_FILENO, POLLIN, 0}, pollfd{wake[0], POLLIN, 0}};
  while (::poll(ready.data(), ready.size(), -1) < 0) {
    if (errno != EINTR) return false;
  }
  if (ready[1].revents == 0) return true;
  char ignored = 0;
  [[maybe_unused]] const ssize_t count = ::read(wake[0], &ignored, 1);
  interrupted = true;
  return false;
}

// One UTF-8 character: 1, at the end of the input 0, when interrupted -1 (libedit then gives the line up).
int LineEditor::State::ReadCharacter(wchar_t* key) {
  if (!WaitForKey()) return -1;
  std::string bytes(1, '\0');
  if (!ReadByte(bytes[0])) return 0;
  const auto lead = static_cast<unsigned char>(bytes[0]);
  const size_t length = lead < 0xC2 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 1;
  while (bytes.size() < length) {
    char byte = 0;
    if (!ReadByte(byte)) return 0;
    bytes += byte;
  }
  const std::string valid = ReplaceInvalidUtf8(bytes);
  size_t position = 0;
  *key = static_cast<wchar_t>(NextCodePoint(valid, position));
  return 1;
}

bool LineEditor::State::ReadByte(char& byte) {
  ssize_t count = 0;
  do {
    count = ::read(STDIN_FILENO, &byte, 1);
  } while (count < 0 && errno == EINTR);
  return count == 1;
}

void LineEditor::State::LoadHistory() {
  history_path = HistoryPath();
  if (history_path.empty()) return;
  std::error_code ignored;
  std::filesystem::create_directories(history_path.parent_path().parent_path(), ignored);
  ::mkdir(history_path.parent_path().c_str(), 0700);
  const auto text = ReadWholeFile(history_path, kLongestHistory);
  if (!text) {
    if (text.error().code == StatusCode::kInvalidFile) ::unlink(history_path.c_str());
    return;
  }
  std::vector<std::string> lines = Lines(*text);
  if (lines.size() > 2 * static_cast<size_t>(kRemembered)) {
    lines.erase(lines.begin(), lines.end() - kRemembered);
    std::string kept;
    for (const std::string& line : lines) kept += line + "\n";
    if (SaveFile(history_path, AsBytes(kept))) ::chmod(history_path.c_str(), 0600);
  }
  for (const std::string& line : lines) ::history(history, &event, H_ENTER, PrintableText(line).c_str());
}

LineEditor::LineEditor(Signals& signals) : state_(std::make_unique<State>(signals)) {
  if (::pipe2(state_->wake.data(), O_CLOEXEC | O_NONBLOCK) != 0) state_->wake = {-1, -1};
  state_->history = ::history_init();
  ::history(state_->history, &state_->event, H_SETSIZE, kRemembered);
  ::history(state_->history, &state_->event, H_SETUNIQUE, 1);
  state_->LoadHistory();
}

LineEditor::~LineEditor() {
  if (state_->editor != nullptr) ::el_end(state_->editor);
  ::history_end(state_->history);
  for (const int descriptor : state_->wake) {
    if (descriptor >= 0) ::close(descriptor);
  }
}

Line LineEditor::Read(const std::string& prompt) {
  State& state = *state_;
  const Signals::Scope scope(state.signals,
                             [&state] { [[maybe_unused]] const ssize_t count = ::write(state.wake[1], "!", 1); });
  state.prompt = prompt;
  state.interrupted = false;
  return HasEditableWindow() ? state.ReadEdited() : state.ReadPlain();
}

void LineEditor::State::StartEditor() {
  editor = ::el_init("dgemma", stdin, stdout, stderr);
  el_set(editor, EL_CLIENTDATA, this);
  el_set(editor, EL_PROMPT, &State::Prompt);
  el_set(editor, EL_EDITOR, "emacs");
  el_set(editor, EL_SIGNAL, 0);
  el_set(editor, EL_HIST, ::history, history);
  el_set(editor, EL_GETCFN, &State::ReadKey);
  el_set(editor, EL_BIND, "^R", "em-inc-search-prev", nullptr);
}

Line LineEditor::State::ReadEdited() {
  if (editor == nullptr) StartEditor();
  ::el_resize(editor);
  // libedit would show the prompt first: a Ctrl-D typed right then would be lost in the change of modes.
  el_set(editor, EL_PREP_TERM, 1);
  int count = 0;
  const char* text = ::el_gets(editor, &count);
  if (interrupted) {
    el_reset(editor);
    return {.text = {}, .end = Interrupted()};
  }
  if (text == nullptr || count <= 0) return {.text = {}, .end = Line::End::kEndOfInput};
  std::string line(text, static_cast<size_t>(count));
  while (line.ends_with('\n') || line.ends_with('\r')) line.pop_back();
  return {.text = std::move(line), .end = Line::End::kEnter};
}

// As the terminal itself edits lines.
Line LineEditor::State::ReadPlain() {
  [[maybe_unused]] const ssize_t count = ::write(STDOUT_FILENO, prompt.data(), prompt.size());
  std::string line;
  for (char byte = 0; WaitForKey();) {
    if (!ReadByte(byte)) return {.text = {}, .end = Line::End::kEndOfInput};
    if (byte == '\n') return {.text = ReplaceInvalidUtf8(line), .end = Line::End::kEnter};
    line += byte;
  }
  return {.text = {}, .end = interrupted ? Interrupted() : Line::End::kEndOfInput};
}

void LineEditor::Remember(const std::string& line) {
  State& state = *state_;
  if (line.empty() || line.find('\n') != std::string::npos) return;
  ::history(state.history, &state.event, H_ENTER, line.c_str());
  if (state.history_path.empty()) return;
  const int file = ::open(state.history_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (file < 0) return;
  const std::string entry = line + "\n";
  [[maybe_unused]] const ssize_t count = ::write(file, entry.data(), entry.size());
  ::close(file);
}

}  // namespace dgemma
