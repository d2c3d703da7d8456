package screen

import (
	"bytes"
	"embed"
	"html/template"
	"io/fs"
	"net/http"

	"github.com/labstack/echo/v4"
)

//go:embed page
var files embed.FS

var templates = template.Must(template.ParseFS(files, "page/*.html"))

// Mount adds the telephones to a server. Screens are by their numbers, without
// plus.
//
//	GET   /telephones                  all telephones
//	GET   /telephones/{number}         one, for people
//	GET   /telephones/{number}/events  what is on its screen, as server-sent events
//	POST  /telephones/{number}/reply   what the person did with the prompt
//	POST  /telephones/{number}/select  what they chose from the menu
//	GET   /telephones/static/{file}    what the pages load
func Mount(e *echo.Echo, screens []*Screen) {
	byNumber := make(map[string]*Screen, len(screens))
	for _, s := range screens {
		byNumber[s.Number.Digits()] = s
	}
	of := func(do func(*Screen, echo.Context) error) echo.HandlerFunc {
		return func(c echo.Context) error {
			s := byNumber[c.Param("number")]
			if s == nil {
				return &problem{status: http.StatusNotFound, code: "not_found", detail: "no telephone has this number", field: "number"}
			}
			return do(s, c)
		}
	}
	index := func(c echo.Context) error { return render(c, "index.html", screens) }
	all := []echo.MiddlewareFunc{headers, problems, byAddress}
	own := append(all[:len(all):len(all)], fromHere)
	e.GET("/telephones", index, all...)
	e.GET("/telephones/", index, all...)
	e.GET("/telephones/static/:file", static, all...)
	e.GET("/telephones/:number", of((*Screen).page), all...)
	e.GET("/telephones/:number/events", of((*Screen).events), own...)
	e.POST("/telephones/:number/reply", of((*Screen).reply), own...)
	e.POST("/telephones/:number/select", of((*Screen).choose), own...)
}

func (s *Screen) page(c echo.Context) error { return render(c, "telephone.html", s) }

func render(c echo.Context, name string, data any) error {
	var b bytes.Buffer // so that an error is not half a page
	if err := templates.ExecuteTemplate(&b, name, data); err != nil {
		return err
	}
	return c.HTMLBlob(http.StatusOK, b.Bytes())
}

func static(c echo.Context) error {
	dir, err := fs.Sub(files, "page/static")
	if err != nil {
		return err
	}
	if f, err := fs.Stat(dir, c.Param("file")); err != nil || f.IsDir() {
		return &problem{status: http.StatusNotFound, code: "not_found", detail: "no such file"}
	}
	http.ServeFileFS(c.Response(), c.Request(), dir, c.Param("file"))
	return nil
}
