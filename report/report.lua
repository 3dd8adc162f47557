-- A reader for pandoc: a notebook, as handin.py gives it, becomes Typst. Comments name the cell of
-- the lines below, what of it cannot be shown, and what to set if Typst refuses the next line.

local MARKDOWN = 'commonmark+pipe_tables+raw_html+strikeout+task_lists+autolink_bare_uris+footnotes'
-- of the types of an output the first of these is shown
local TYPES = pandoc.List{'text/markdown', 'text/latex', 'image/svg+xml', 'image/png', 'image/jpeg',
  'image/gif', 'image/webp', 'text/html', 'text/plain'}
local KINDS = {['text/markdown'] = 'markdown', ['text/latex'] = 'markdown', ['text/html'] = 'html'}
local TEXT_WIDTH = 6.69 -- inches
-- what MathJax knows and pandoc does not; a matrix without braces would merge with what is around
local macros = [[
\newcommand{\tag}[1]{\qquad(#1)}\newcommand{\notag}{}\newcommand{\nonumber}{}
\newcommand{\textcolor}[2]{#2}\newcommand{\hbox}[1]{\text{#1}}\newcommand{\require}[1]{}
\newcommand{\fbox}[1]{\boxed{\text{#1}}}\newcommand{\cfrac}[2]{\dfrac{#1}{#2}}
\newcommand{\|}{\Vert }\newcommand{\hphantom}[1]{\phantom{#1}}\newcommand{\mathbbm}[1]{\mathbb{#1}}
\newenvironment{dcases}{\begin{cases}}{\end{cases}}
\newenvironment{matrix}{\begin{pmatrix}\text{bare}}{\end{pmatrix}}
\newenvironment{smallmatrix}{\begin{pmatrix}\text{bare}}{\end{pmatrix}}
\newenvironment{array}[1]{\begin{pmatrix}\text{bare}}{\end{pmatrix}}
]]
local FONTS = {bf = true, rm = true, it = true, sf = true, tt = true, cal = true}
local cell, title, folder, attachments, body = 0, nil, '', {}, pandoc.Blocks{}
local kept, levels = {}, pandoc.List{}

local function raw(text) return pandoc.RawInline('typst', text) end

local function typst(inlines)
  return pandoc.write(pandoc.Pandoc{pandoc.Plain(inlines)}, 'typst', {wrap_text = 'none'})
end

-- Typst reads the strings of JSON, too.
local function quoted(text) return pandoc.json.encode((text:gsub('%s+', ' '))) end

-- Return a comment for handin.py; the control character is in no text.
local function mark(what, instead)
  what = what and pandoc.text.sub(what:gsub('%s+', ' '), 1, 400)
  return '//\2' .. pandoc.json.encode{cell = cell, what = what, instead = instead} .. '\n'
end

local function warn(what) body:insert(pandoc.RawBlock('typst', mark(what))) end

-- Return what is set as long as Typst takes the first line of its code.
local function attempt(code, what, instead)
  return raw('#{' .. mark(what, instead) .. code .. '\n};')
end

local function decoded(address)
  return (address:gsub('%%(%x%x)', function(hex) return string.char(tonumber(hex, 16)) end))
end

-- Return TeX as pandoc knows it, and keep its definitions for the formulas after it.
local function simplified(tex)
  tex = tex:gsub('\\label%s*%b{}', ''):gsub('(\\begin{%a+})%s*%[[tbc]%]', '%1')
    :gsub('\\left%s*\\{%s*\\begin{array}%s*%b{}(.-)\\end{array}%s*\\right%s*%.',
      '\\begin{cases}%1\\end{cases}')
    :gsub('\\def%s*(\\%a+)%s*#1', '\\newcommand{%1}[1]'):gsub('\\def%s*(\\%a+)', '\\newcommand{%1}')
    :gsub('{%s*\\(%a+)%f[%A]', function(font) return FONTS[font] and '\\math' .. font .. '{' end)
    :gsub('\\(%a+)%s*{', function(font) return FONTS[font] and '\\math' .. font .. '{' end)
  for _, command in ipairs{'\\%a*command', '\\DeclareMathOperator'} do
    for definition in tex:gmatch(command .. '%*?%s*{?\\%a+}?%s*%[?%d?%]?%s*%b{}') do
      macros = macros .. definition
    end
  end
  return tex
end

local function formula(math)
  local code
  local failures = pandoc.log.silence(function()
    code = typst{pandoc.Math(math.mathtype, macros .. simplified(math.text))}
  end)
  local what = 'cannot be set, its source is shown: formula ' .. math.text
  local instead = ('raw(%s, block: %s)'):format(quoted(math.text), math.mathtype == 'DisplayMath')
  if #failures > 0 then
    warn(what)
    return raw('#' .. instead .. ';')
  end
  if code:match '^%$%s*%$' then return {} end -- definitions only
  code = code:gsub('%s+', ' '):gsub(' $', '')
    -- a gap in cases and between pairs of columns, as TeX leaves one
    :gsub('cases%b()', function(rows) return rows:gsub(' & ', '\2 quad ') end)
    :gsub('\\ ', '\1'):gsub('( & [^\1&]* [^\1&]*) & ', '%1\2 quad '):gsub('\1', '\\ ')
    :gsub('\2', ' &'):gsub('delim: "||"', 'delim: "‖"')
    :gsub('vec%(upright%("bare"%)', 'vec(delim: #none,')
    :gsub('delim: "%(", upright%("bare"%)', 'delim: #none,')
    :gsub('; #none%)', ')') -- no row after a last line break
    :gsub('([%])]);', '%1 ;') -- ends a row, not the code before it
    :gsub('#scale%(x: (%d+%%), y: %d+%%%)%[(.-)%]', 'lr(size: #%1, %2)')
    :gsub('\\|', 'class("normal", |)'):gsub('∥', ' bar.v.double ') -- no relations
    :gsub('bar%.v%.double', 'class("normal", ‖)')
    :gsub('stroke: black, inset: 3pt', 'stroke: 0.5pt, inset: 3pt, baseline: 50%% - 0.25em')
  return attempt('formula(' .. code .. ')', what, instead)
end

-- Jupyter takes formulas out of a text before it reads Markdown, but for code. MathML of a number
-- between control characters, which are in no text, stands for each until it is known what is code.
local function keep(source, shown)
  table.insert(kept, {source = source, shown = shown})
  return ('<math><mi>\1%d\1</mi></math>'):format(#kept)
end

local function keep_math(mathtype, source, tex)
  tex = tex:gsub('&#?%w+;', function(entity) -- of HTML
    return pandoc.utils.stringify(pandoc.read(entity, 'html'))
  end)
  return keep(source, pandoc.Math(mathtype, tex:match '^%s*(.-)%s*$'))
end

local formulas = re.compile([[
  text    <- {~ (code / refused / escaped / display / inline / .)* ~}
  code    <- %nl [ >]* {:end: '```' '`'* / '~~~' '~'* :} (!(%nl [ >]* =end) .)* (%nl [ >]* =end)?
           / {:end: '`'+ :} (!(=end !'`') ('`'+ / .))+ =end
           / '<' {:end: 'pre' / 'code' / 'script' / 'style' :} ![%w] (!close .)* close
  refused <- {'<' {:end: 'audio' / 'canvas' / 'embed' / 'form' / 'iframe' / 'object' / 'video' :}
              ![%w] ((!close .)* close / [^>]* '>')} -> refused
  close   <- '</' =end '>'
  escaped <- {'\' {'$'}} -> escaped
  display <- {'$$' {(!'$$' .)+} '$$' / '\\[' {(!'\\]' .)+} '\\]' / {environment}} -> display
  environment <- '\begin{' {:end: [a-zA-Z]+ '*'? :} '}' (!('\end{' =end '}') .)* '\end{' =end '}'
  inline  <- {'$' {('\' . / [^$\%nl] / %nl !(%s* %nl))+} '$' / '\\(' {(!'\\)' .)+} '\\)'} -> inline
]], {
  display = function(source, tex) return keep_math('DisplayMath', source, tex) end,
  inline = function(source, tex) return keep_math('InlineMath', source, tex) end,
  escaped = function(source, letter) return keep(source, pandoc.Str(letter)) end,
  refused = function(source)
    warn(source:match '^<%a+' .. '> cannot be set, its source is shown: ' .. source)
    return keep(source, pandoc.Code(source))
  end,
})

local function restored(text)
  return (text:gsub('<math><mi>(\1%d+\1)</mi></math>', '%1')
    :gsub('\1(%d+)\1', function(number) return kept[tonumber(number)].source end))
end

local function restored_code(code)
  code.text = restored(code.text)
  return code
end

-- Return a picture of a notebook, text or base64, as the address of itself.
local function address(mime, data)
  if data:match '^%s*<' then
    local function spelt(byte) return ('%%%02X'):format(byte:byte()) end
    return ('data:%s,%s'):format(mime, (data:gsub('%W', spelt)))
  end
  return ('data:%s;base64,%s'):format(mime, (data:gsub('%s', '')))
end

-- pandoc passes attributes and the language of code on as Typst, and nobody's text is an output.
local function harmless(it)
  if not it.attr then return end
  local own = it.tag == 'Image' and it.attributes or {}
  local classes = it.classes:filter(function(class)
    return class:match '^[%w_+-]+$' and class ~= 'output' and class ~= 'error'
  end)
  it.attr = {it.identifier, classes, {width = own.width, height = own.height, style = own.style}}
  return it
end

local function harmless_table(t)
  local parts = pandoc.List{t.head, t.foot}
  for _, body in ipairs(t.bodies) do parts:extend{{rows = body.head}, {rows = body.body}} end
  for _, part in ipairs(parts) do
    for _, row in ipairs(part.rows) do
      for _, it in ipairs(row.cells) do it.attr = {} end
    end
  end
  return harmless(t)
end

-- Two walks over all text: the first finds out what stands there, the second makes it Typst.
local contents = {
  Code = restored_code,
  CodeBlock = restored_code,
  Math = function(math)
    local it = kept[tonumber(math.text:match '\1(%d+)\1' or 0)]
    return it and it.shown
  end,
  Header = function(heading) -- levels from 1 on, without gaps; names as Jupyter's
    local name = pandoc.utils.stringify(heading):gsub('%s', '-')
    if not title and heading.level == 1 then
      title = {cell = cell, content = pandoc.Inlines{pandoc.Span({}, {name})} .. heading.content}
      return {}
    end
    while #levels > 0 and levels[#levels] >= heading.level do levels:remove() end
    levels:insert(heading.level)
    return pandoc.Header(#levels, heading.content, {name})
  end,
}
local corrections = {
  Figure = function(figure) -- pandoc would give it an empty caption
    if #figure.caption.long > 0 then return figure end
    local opened, closed = pandoc.RawBlock('typst', '#figure['), pandoc.RawBlock('typst', ']')
    return pandoc.Blocks{opened} .. figure.content .. pandoc.Blocks{closed}
  end,
  Image = function(image)
    local alt = restored(pandoc.utils.stringify(image.caption))
    local shown = ('[%s: %s]'):format(alt ~= '' and alt or 'picture', image.src:sub(1, 80))
    local attached = attachments[decoded(image.src):match '^attachment:(.*)']
    local source = attached and address(next(attached)) or image.src
    local near = not source:match '^%a*:?//' -- nothing is fetched from the net
    local found, _, content = pcall(pandoc.mediabag.fetch, near and source or '')
    content = found and content or ''
    image.src = pandoc.utils.sha1(content)
    pandoc.system.write_file(folder .. '/' .. image.src, content)
    local style = image.attributes.style or ''
    image.attributes.width = image.attributes.width or style:match '^width: *([%w.%%]+)'
    local code = typst{image}:match '^#box%((.*)%)%)'
    code = code:gsub('width: ([%d.]+)in', function(inches)
      return tonumber(inches) > TEXT_WIDTH and 'width: 100%'
    end)
    if alt ~= '' then code = code .. ', alt: ' .. quoted(alt) end
    local what = 'cannot be set, its source is shown: picture ' .. shown
    return attempt(code .. ')', what, quoted(shown))
  end,
  Link = function(link)
    local target = restored(decoded(link.target))
    if #link.content == 0 then return {} end -- nobody sees it
    local scheme = link.target:lower():match '^%a+:'
    if scheme == 'http:' or scheme == 'https:' or scheme == 'mailto:' then return link end
    local what = ("link to '%s' leads nowhere, its text is shown"):format(target)
    if target ~= '' and not target:match '^#' then
      warn(what)
      return link.content
    end
    local to = 'let to = it => context link(query(label(%s)).first().location(), it)'
    local opened = mark(what, 'let to = it => it') .. to:format(quoted(target:sub(2))) .. '\nto['
    return pandoc.Inlines{raw('#{' .. opened)} .. link.content .. pandoc.Inlines{raw ']\n};'}
  end,
  Math = formula,
  Span = function(span)
    local label = '#metadata(none)#label(' .. quoted(span.identifier) .. ')'
    if span.identifier ~= '' then span.content:insert(1, raw(label)) end
    return span.content
  end,
  Table = function(t) -- numbers as pandas aligns them
    if not t.classes:includes 'dataframe' then return t end
    t.colspecs = t.colspecs:map(function(spec) return {'AlignRight', spec[2]} end)
    return t
  end,
}

-- Return blocks that show a text as Markdown or HTML, or letter by letter.
local function blocks(text, kind)
  text = text:gsub('[%z\1-\8\11-\31\127]', ''):gsub('\xC2\x85', ''):gsub('\xE2\x80[\xA8\xA9]', '')
    :gsub('^\n+', ''):gsub('\n+$', '')
  if text == '' then return {} end
  if kind ~= 'markdown' and kind ~= 'html' then return {pandoc.CodeBlock(text, {class = kind})} end
  for _, spelt in ipairs{'&#0*[1-8]%f[%D];?', '&#[xX]0*[1-8]%f[%X];?'} do
    text = text:gsub(spelt, '') -- the same characters as entities of HTML
  end
  text = formulas:match('\n' .. text .. '\n')
  if kind == 'markdown' then -- it mixes with HTML as in a browser: both are read as HTML
    text = pandoc.write(pandoc.read(text, MARKDOWN), 'html', {highlight_method = 'none'})
  end
  local shown = pandoc.read(text, 'html-auto_identifiers+task_lists').blocks
    :walk{Block = harmless, Inline = harmless, Table = harmless_table}:walk(contents)
  if #shown == 0 and kind == 'html' then warn 'its HTML shows nothing on paper' end
  return shown:walk(corrections)
end

-- Return a text without colours, and what else moves a cursor.
local function uncoloured(text) return (text:gsub('\27%[.-[@-~]', '')) end

-- Return blocks that show what paper can of an output.
local function output_blocks(output)
  if output.output_type == 'error' then
    warn('its output is an error, ' .. output.ename)
    return blocks(uncoloured(table.concat(output.traceback, '\n')), 'error')
  elseif output.name == 'stderr' then
    warn('its output on stderr is left out: ' .. output.text)
    return {}
  end
  local data, about = output.data or {['text/plain'] = output.text}, output.metadata or {}
  local best = TYPES:filter(function(mime) return (data[mime] or '') ~= '' end)[1]
  local others, source = pandoc.List{}, ''
  for mime, content in pairs(data) do
    if mime ~= best and content ~= '' then others:insert(mime) end
  end
  others:sort()
  for _, mime in ipairs(best and best ~= 'text/plain' and {} or others) do
    warn(('%s output cannot be set, %s is shown'):format(mime, best or 'its source'))
    local content = data[mime]
    content = type(content) == 'string' and content or pandoc.json.encode(content)
    source = ('%s%s: %s\n'):format(source, mime, pandoc.text.sub(content, 1, 300))
  end
  if not (best and best:match '^image') then
    return blocks(uncoloured(data[best] or source), KINDS[best] or 'output')
  end
  local own = about[best] or {}
  local alt, width = tostring(own.alt or about.alt or ''), tostring(own.width or about.width or '')
  local image = pandoc.Image(alt, address(best, data[best]), '', {width = width})
  return pandoc.Blocks{pandoc.Figure{pandoc.Plain{image}}}:walk(corrections)
end

function Reader(input)
  local notebook = pandoc.json.decode(tostring(input), false)
  local language = (notebook.metadata.language_info or {}).name or 'python'
  local kinds = {markdown = 'markdown', code = language, raw = 'output'}
  folder = notebook.folder
  for number, it in ipairs(notebook.cells) do
    cell, attachments = number, it.attachments or {}
    body:insert(pandoc.RawBlock('typst', mark()))
    local tags = pandoc.List(it.metadata.tags or {})
    local hidden = not notebook.code or tags:includes 'hide-input' or tags:includes 'remove-input'
    if it.cell_type ~= 'code' or not hidden then
      local source = it.source:gsub('\r\n?', '\n') -- as Python ends lines
      body:extend(blocks(source, kinds[it.cell_type]))
    end
    for _, output in ipairs(it.outputs or {}) do body:extend(output_blocks(output)) end
  end
  title = title or {cell = 1, content = pandoc.Inlines(notebook.name)}
  cell = title.cell
  local heading = mark() .. '#show: report.with(title: [' .. typst(title.content:walk(corrections))
  local start = '#import "report.typ": *\n' .. heading .. '], ..json(bytes(sys.inputs.about)))'
  body:insert(1, pandoc.RawBlock('typst', start))
  return pandoc.Pandoc(body)
end
